-- The claim's job is done with: forget it, and charge its owner what the run took beyond what was expected.
-- Keys as in fair.lua.
--
-- ARGV: claim
-- Returns the model ms that it held its slot; false when nobody holds it, or it is from before there were accounts.
local claim = ARGV[1]
local raw = redis.call('HGET', 'hs:unacked', claim)
redis.call('HDEL', 'hs:unacked', claim)
redis.call('ZREM', 'hs:unacked:index', claim)
if not raw then return false end
local queue, _, _, _, _, _, tenant, agent, charged, weight, since, pace = unpack(cjson.decode(raw))
if not tenant then return false end
local took = math.floor(math.max(now - since, 0) * pace)
correct(queue, tenant, agent, took - charged, weight)
return took
