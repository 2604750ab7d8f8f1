-- Put jobs into their lanes; one that is there already stays one, and one that waits in another lane moves.
-- Keys as in fair.lua.
--
-- ARGV: per job: queue, lane, id, arrival in ms, deadline in ms, tenant, agent, message
for i = 1, #ARGV, 8 do
  put(unpack(ARGV, i, i + 7))
end
redis.call('PUBLISH', 'hs:wake', '')
