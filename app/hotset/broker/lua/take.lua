-- Claim a load: from here on the GPU counts as one that holds the model and no longer holds the victims. Atomic, so
-- that GPUs which decide at the same moment know of each other. Holds no policy: it refuses what was decided on a
-- picture that is not true any more, and the GPU looks and decides again.
--
-- hs:gpus            zset   GPU -> when its worker last said anything, epoch ms
-- hs:gpu:{gpu}       hash   expires 5 s after its worker fell silent
--                           worker  who serves it
--                           holds   JSON array of the models that it has and keeps, or loads
--                           loading the one of them that it drains for or loads, or nothing
--                           state   JSON, GpuState of board.py: hot set, loading, inferring, slots, epoch
-- hs:ver             number moves with every change of who holds what: load begun, loaded, evicted, failed, join, leave
-- hs:claim:{model}   hash   GPU -> JSON {worker, victims, at, until}, times in epoch ms; the worker is the token
-- hs:worker:{worker} channel that a worker listens to for as long as it lives; nothing is published
-- hs:lanes:{queue}, hs:arrival:{queue}:{lane}: as in snapshot.lua
--
-- ARGV: gpu, worker, model, victims (JSON array), guarded (JSON object: victim -> its queues), want, version seen,
--       holds (what the entry says from now on), ms that the claim lives, ms after which a silent GPU is gone
-- `want`: how many replicas the model may have in the end, this one included. `guarded`: the victims that the decision
-- took for dispensable, since nothing waits for them or others hold them; one that it gave up knowingly is not named.
-- Returns false, or why not: rival (another worker serves the GPU), moved (the version is another), enough (live
-- replicas and claims are as many as wanted), last (a guarded victim is the last live replica, and jobs wait for it)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gpu, worker, model = ARGV[1], ARGV[2], ARGV[3]
local guarded, want, seen = cjson.decode(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local life, keep = tonumber(ARGV[9]), tonumber(ARGV[10])
local own = 'hs:gpu:' .. gpu

local serving = redis.call('HGET', own, 'worker')
if serving and serving ~= worker then return 'rival' end
if (redis.call('GET', 'hs:ver') or '0') ~= seen then return 'moved' end

local others = {}
for _, name in ipairs(redis.call('ZRANGE', 'hs:gpus', 0, -1)) do
  if name ~= gpu then
    local said = redis.call('HMGET', 'hs:gpu:' .. name, 'worker', 'holds')
    if said[1] then others[name] = {worker = said[1], holds = cjson.decode(said[2])} end
  end
end

local function replicas(of)
  local found, count = {}, 0
  for name, other in pairs(others) do
    for _, held in ipairs(other.holds) do
      if held == of then found[name] = true end
    end
  end
  local claims = redis.call('HGETALL', 'hs:claim:' .. of)
  for i = 1, #claims, 2 do
    local name, claim = claims[i], cjson.decode(claims[i + 1])
    -- A GPU without an entry may be one that has not spoken since the broker forgot everything.
    local lives = others[name] and others[name].worker == claim.worker
    if name ~= gpu and claim['until'] > now and (lives or (not others[name] and claim.at > now - keep)) then
      found[name] = true
    end
  end
  for _ in pairs(found) do count = count + 1 end
  return count
end

local function waited_for(queues)
  for _, queue in ipairs(queues) do
    for _, lane in ipairs(redis.call('SMEMBERS', 'hs:lanes:' .. queue)) do
      if redis.call('ZCARD', 'hs:arrival:' .. queue .. ':' .. lane) > 0 then return true end
    end
  end
  return false
end

if replicas(model) >= want then return 'enough' end
for victim, queues in pairs(guarded) do
  if waited_for(queues) and replicas(victim) == 0 then return 'last' end
end

local claims = 'hs:claim:' .. model
local claim = {worker = worker, victims = cjson.decode(ARGV[4]), at = now, ['until'] = now + life}
redis.call('HSET', claims, gpu, cjson.encode(claim))
if redis.call('PTTL', claims) < life then redis.call('PEXPIRE', claims, life) end
if serving then redis.call('HSET', own, 'holds', ARGV[8], 'loading', model) end
redis.call('INCR', 'hs:ver')
return false
