-- A worker says what its GPU holds. A GPU has one worker: the first that lives keeps it. Keys as in take.lua.
--
-- ARGV: gpu, worker, holds, loading, state, ms after which a silent GPU is gone, then models whose load has come to an end:
--       the GPU's claims on them go
-- Returns false, or the other worker that serves this GPU; then nothing has changed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gpu, worker, holds, loading, keep = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[6])
local own = 'hs:gpu:' .. gpu

local before = redis.call('HMGET', own, 'worker', 'holds', 'loading')
-- A worker that was killed listens no more at once, long before its entry has expired.
if before[1] and before[1] ~= worker and redis.call('PUBSUB', 'NUMSUB', 'hs:worker:' .. before[1])[2] > 0 then
  return before[1]
end

redis.call('HSET', own, 'worker', worker, 'holds', holds, 'loading', loading, 'state', ARGV[5])
redis.call('PEXPIRE', own, keep)
for i = 7, #ARGV do redis.call('HDEL', 'hs:claim:' .. ARGV[i], gpu) end
-- Brokers that outlive an update may still have the set that this once was.
if redis.call('TYPE', 'hs:gpus').ok == 'set' then redis.call('DEL', 'hs:gpus') end
redis.call('ZADD', 'hs:gpus', now, gpu)
local gone = redis.call('ZREMRANGEBYSCORE', 'hs:gpus', '-inf', now - keep)
if gone > 0 or before[1] ~= worker or before[2] ~= holds or before[3] ~= loading then
  redis.call('INCR', 'hs:ver')
end
return false
