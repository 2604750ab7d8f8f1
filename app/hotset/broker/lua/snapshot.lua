-- Sweep the inboxes of plain producers into lanes, then describe every lane. Holds no policy.
-- Keys as in fair.lua, and:
--
-- hs:quarantine             list    what could not be read, as it came, the newest 1,000; of a long one 64 KiB
-- hs:quarantine:untold      list    what the audit has yet to be told of them: {queue, reason, bytes, sha1}, JSON
-- {queue}                   list    inbox: any Celery producer may LPUSH here
--
-- ARGV: most messages swept per queue, most bytes of a message, then per queue: name, default deadline in ms
-- Returns {now in ms, {queue, inbox left, {lane, waiting, oldest arrival, savable, next deadline or ''} ...} ...}
local most, longest = tonumber(ARGV[1]), tonumber(ARGV[2])

local function readable(raw)
  if #raw > longest then return nil, 'it is longer than a message may be' end
  -- Deep nesting is refused by cjson itself (1,000 levels).
  local ok, message = pcall(cjson.decode, raw)
  if not ok or type(message) ~= 'table' or type(message.headers) ~= 'table'
     or type(message.properties) ~= 'table' or type(message.body) ~= 'string' then return nil, 'it is no Celery message' end
  local id = message.headers.id
  if type(id) ~= 'string' or #id == 0 or #id > 64 or type(message.headers.task) ~= 'string' then
    return nil, 'it names no id or no task'
  end
  return message
end

-- As put_aside.lua.
local function put_aside(queue, raw, reason)
  redis.call('LPUSH', 'hs:quarantine', raw:sub(1, 65536))
  redis.call('LTRIM', 'hs:quarantine', 0, 999)
  local trace = {queue = queue, reason = reason, bytes = #raw, sha1 = redis.sha1hex(raw)}
  redis.call('RPUSH', 'hs:quarantine:untold', cjson.encode(trace))
  redis.call('LTRIM', 'hs:quarantine:untold', -10000, -1)
end

local function sweep(queue, deadline)
  for _ = 1, most do
    local raw = redis.call('RPOP', queue)
    if not raw then return end
    local message, reason = readable(raw)
    if message then
      local id = message.headers.id
      if redis.call('HEXISTS', 'hs:owner:' .. queue, id) == 1 then
        redis.call('HSET', 'hs:message:' .. queue, id, raw) -- it waits already, and keeps its place
      else
        local tenant, agent = said_owner(message)
        put(queue, 'normal', id, now, now + deadline, tenant, agent, raw)
      end
    else
      put_aside(queue, raw, reason)
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
