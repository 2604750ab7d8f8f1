-- Put jobs into their lanes; one that is there already stays one. Keys as in snapshot.lua.
--
-- ARGV: per job: queue, lane, id, arrival in ms, deadline in ms, message
for i = 1, #ARGV, 6 do
  local queue, lane, id = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  redis.call('SADD', 'hs:lanes:' .. queue, lane)
  redis.call('HSET', 'hs:message:' .. queue, id, ARGV[i + 5])
  redis.call('ZADD', 'hs:arrival:' .. queue .. ':' .. lane, ARGV[i + 3], id)
  redis.call('ZADD', 'hs:deadline:' .. queue .. ':' .. lane, ARGV[i + 4], id)
end
redis.call('PUBLISH', 'hs:wake', '')
