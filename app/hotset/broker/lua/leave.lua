-- A worker stops serving its GPU. Keys as in take.lua.
--
-- ARGV: gpu, worker, then the models that it has claimed
if redis.call('HGET', 'hs:gpu:' .. ARGV[1], 'worker') ~= ARGV[2] then return end
redis.call('DEL', 'hs:gpu:' .. ARGV[1])
redis.call('ZREM', 'hs:gpus', ARGV[1])
for i = 3, #ARGV do redis.call('HDEL', 'hs:claim:' .. ARGV[i], ARGV[1]) end
redis.call('INCR', 'hs:ver')
