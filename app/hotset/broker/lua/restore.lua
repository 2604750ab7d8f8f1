-- Claims that nobody renewed (their worker is gone) go back to the lanes they came from, and what their owners were
-- charged is taken back. One that waits again by now (as a suspect, say) stays where it is. Keys as in fair.lua.
--
-- ARGV: most claims, age in ms after which a claim is abandoned; or 0, 0, claim: give back this one now
-- Returns how many went back.
local claims
if ARGV[3] then
  claims = {ARGV[3]}
else
  claims = redis.call('ZRANGEBYSCORE', 'hs:unacked:index', '-inf', now - ARGV[2], 'LIMIT', 0, ARGV[1])
end
local restored = 0
for _, claim in ipairs(claims) do
  local raw = redis.call('HGET', 'hs:unacked', claim)
  if raw then
    local queue, lane, id, arrived, due, message, tenant, agent, charged, weight = unpack(cjson.decode(raw))
    if tenant then
      correct(queue, tenant, agent, -charged, weight)
    else
      tenant, agent = said_owner(cjson.decode(message)) -- from before there were accounts
    end
    if redis.call('HEXISTS', 'hs:message:' .. queue, id) == 0 then
      put(queue, lane, id, arrived, due, tenant, agent, message)
      restored = restored + 1
    end
  end
  redis.call('HDEL', 'hs:unacked', claim)
  redis.call('ZREM', 'hs:unacked:index', claim)
end
return restored
