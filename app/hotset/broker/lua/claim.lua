-- Spend one grant: take the job that the selector names out of its lane and hold it as unacknowledged, atomically.
-- Keys as in snapshot.lua, and:
--
-- hs:unacked        hash   claim -> {queue, lane, id, arrival, deadline, message}, JSON array
-- hs:unacked:index  zset   claim -> when it was last renewed, epoch ms
--
-- ARGV: queue, lane, selector (overdue | savable | oldest), claim
-- Returns the message, or false when the lane is empty.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local queue, lane, selector, claim = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local arrival, deadline = 'hs:arrival:' .. queue .. ':' .. lane, 'hs:deadline:' .. queue .. ':' .. lane
local messages = 'hs:message:' .. queue

local function pick()
  if selector == 'savable' then
    local id = redis.call('ZRANGEBYSCORE', deadline, now, '+inf', 'LIMIT', 0, 1)[1]
    if id then return id end
  end
  return redis.call('ZRANGE', arrival, 0, 0)[1]
end

-- A member without a message can only come from a half-restored broker; the relay publishes it again.
for _ = 1, 100 do
  local id = pick()
  if not id then return false end
  local arrived, due = redis.call('ZSCORE', arrival, id), redis.call('ZSCORE', deadline, id)
  redis.call('ZREM', arrival, id)
  redis.call('ZREM', deadline, id)
  local message = redis.call('HGET', messages, id)
  if message then
    redis.call('HDEL', messages, id)
    redis.call('HSET', 'hs:unacked', claim, cjson.encode({queue, lane, id, arrived, due or arrived, message}))
    redis.call('ZADD', 'hs:unacked:index', now, claim)
    return message
  end
end
return false
