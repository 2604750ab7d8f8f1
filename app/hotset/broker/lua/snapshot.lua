-- Sweep the inboxes of plain producers into lanes, then describe every lane. Holds no policy.
-- Keys as in fair.lua, and:
--
-- hs:quarantine             list    what could not be read, as it came: nothing is thrown away
-- {queue}                   list    inbox: any Celery producer may LPUSH here
--
-- ARGV: most messages swept per queue, most bytes of a message, then per queue: name, default deadline in ms
-- Returns {now in ms, {queue, inbox left, {lane, waiting, oldest arrival, savable, next deadline or ''} ...} ...}
local most, longest = tonumber(ARGV[1]), tonumber(ARGV[2])

local function readable(raw)
  if #raw > longest then return nil end
  local ok, message = pcall(cjson.decode, raw)
  if not ok or type(message) ~= 'table' or type(message.headers) ~= 'table'
     or type(message.properties) ~= 'table' or type(message.body) ~= 'string' then return nil end
  local id = message.headers.id
  if type(id) ~= 'string' or #id == 0 or #id > 64 or type(message.headers.task) ~= 'string' then return nil end
  return message
end

local function sweep(queue, deadline)
  for _ = 1, most do
    local raw = redis.call('RPOP', queue)
    if not raw then return end
    local message = readable(raw)
    if message then
      local id = message.headers.id
      if redis.call('HEXISTS', 'hs:owner:' .. queue, id) == 1 then
        redis.call('HSET', 'hs:message:' .. queue, id, raw) -- it waits already, and keeps its place
      else
        local tenant, agent = said_owner(message)
        put(queue, 'normal', id, now, now + deadline, tenant, agent, raw)
      end
    else
      redis.call('LPUSH', 'hs:quarantine', raw)
    end
  end
end

local answer = {now}
for i = 3, #ARGV, 2 do
  local queue = ARGV[i]
  sweep(queue, tonumber(ARGV[i + 1]))
  local found = {queue, redis.call('LLEN', queue)}
  for _, lane in ipairs(redis.call('SMEMBERS', 'hs:lanes:' .. queue)) do
    local arrival, deadline = lane_key('arrival', queue, lane), lane_key('deadline', queue, lane)
    local waiting = redis.call('ZCARD', arrival)
    if waiting > 0 then
      local oldest = redis.call('ZRANGE', arrival, 0, 0, 'WITHSCORES')
      local next = redis.call('ZRANGEBYSCORE', deadline, now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
      found[#found + 1] = {lane, waiting, oldest[2], redis.call('ZCOUNT', deadline, now, '+inf'), next[2] or ''}
    end
  end
  answer[#answer + 1] = found
end
return answer
