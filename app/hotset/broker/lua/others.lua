-- The GPUs and the claims at one moment. Keys as in take.lua.
--
-- ARGV: a version, then models
-- Returns {version} when it is that one; else {version, {state ...}, {model, gpu, claim ...}}: the GPUs that are alive
-- and the claims that have not run out.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local version = redis.call('GET', 'hs:ver') or '0'
if version == ARGV[1] then return {version} end

local states, claims = {}, {}
for _, name in ipairs(redis.call('ZRANGE', 'hs:gpus', 0, -1)) do
  local state = redis.call('HGET', 'hs:gpu:' .. name, 'state')
  if state then states[#states + 1] = state end
end
for i = 2, #ARGV do
  local found = redis.call('HGETALL', 'hs:claim:' .. ARGV[i])
  for j = 1, #found, 2 do
    if cjson.decode(found[j + 1])['until'] > now then
      claims[#claims + 1] = ARGV[i]
      claims[#claims + 1] = found[j]
      claims[#claims + 1] = found[j + 1]
    end
  end
end
return {version, states, claims}
