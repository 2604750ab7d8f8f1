-- Put jobs into their lanes; one that is there already stays one. Keys as in snapshot.lua.
-- A suspect leaves every other lane: what a dead worker had claimed may have come back to its old one.
--
-- ARGV: per job: queue, lane, id, arrival in ms, deadline in ms, message
for i = 1, #ARGV, 6 do
  local queue, lane, id = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if lane == 'suspect' then
    for _, other in ipairs(redis.call('SMEMBERS', 'hs:lanes:' .. queue)) do
      redis.call('ZREM', 'hs:arrival:' .. queue .. ':' .. other, id)
      redis.call('ZREM', 'hs:deadline:' .. queue .. ':' .. other, id)
    end
  end
  redis.call('SADD', 'hs:lanes:' .. queue, lane)
  redis.call('HSET', 'hs:message:' .. queue, id, ARGV[i + 5])
  redis.call('ZADD', 'hs:arrival:' .. queue .. ':' .. lane, ARGV[i + 3], id)
  redis.call('ZADD', 'hs:deadline:' .. queue .. ':' .. lane, ARGV[i + 4], id)
end
redis.call('PUBLISH', 'hs:wake', '')
