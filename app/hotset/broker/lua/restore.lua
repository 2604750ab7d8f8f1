-- Claims that nobody renewed (their worker is gone) go back to the lanes they came from. Keys as in claim.lua.
-- Not those that wait as suspects by now: Postgres knew first that their worker is gone.
-- ARGV: most claims, age in ms after which a claim is abandoned; or 0, 0, claim: give back this one now
-- Returns how many went back.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local claims
if ARGV[3] then
  claims = {ARGV[3]}
else
  claims = redis.call('ZRANGEBYSCORE', 'hs:unacked:index', '-inf', now - ARGV[2], 'LIMIT', 0, ARGV[1])
end
local restored = 0
for _, claim in ipairs(claims) do
  local raw = redis.call('HGET', 'hs:unacked', claim)
  local queue, lane, id, arrived, due, message
  if raw then queue, lane, id, arrived, due, message = unpack(cjson.decode(raw)) end
  if raw and not redis.call('ZSCORE', 'hs:arrival:' .. queue .. ':suspect', id) then
    redis.call('HSET', 'hs:message:' .. queue, id, message)
    redis.call('SADD', 'hs:lanes:' .. queue, lane)
    redis.call('ZADD', 'hs:arrival:' .. queue .. ':' .. lane, arrived, id)
    redis.call('ZADD', 'hs:deadline:' .. queue .. ':' .. lane, due, id)
    restored = restored + 1
  end
  redis.call('HDEL', 'hs:unacked', claim)
  redis.call('ZREM', 'hs:unacked:index', claim)
end
return restored
