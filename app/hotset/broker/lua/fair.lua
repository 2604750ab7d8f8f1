-- What the other scripts share; it is put before each of them. The rule is that of simulator/lanes.py, the reference.
--
-- q: queue, l: lane (a priority or `suspect`), t: tenant, a: agent. Tenants and agents may have any name: where one is
-- followed by more, its length in bytes goes before it.
--
-- hs:lanes:{q}                                     set   names of the queue's lanes
-- hs:message:{q}                                   hash  job id -> message (kombu's envelope, JSON)
-- hs:arrival:{q}:{l}, hs:deadline:{q}:{l}          zset  job id -> epoch ms: all jobs of the lane
-- hs:own:arrival:{#q}:{q}:{l}:{#t}:{t}:{a}, and    zset  job id -> epoch ms: those of one agent
-- hs:own:deadline:{#q}:{q}:{l}:{#t}:{t}:{a}
-- hs:owner:{q}                                     hash  job id -> {#t}:{t}:{a}
-- hs:served:tenants:{q}                            zset  tenant -> virtual time: expected model ms of runs ÷ weight
-- hs:served:agents:{#q}:{q}:{t}                    zset  agent -> virtual time, inside its tenant
-- hs:clock:{q}                                     hash  `tenants`, `agents:{t}` -> where who comes now starts
-- hs:waiting:tenants:{q}:{l}                       zset  tenant with jobs in the lane -> virtual time
-- hs:waiting:agents:{#q}:{q}:{#t}:{t}:{l}          zset  agent with jobs in the lane -> virtual time
-- hs:unacked                                       hash  claim -> JSON array {q, l, id, arrival, deadline, message, t, a,
--                                                        ms charged, weight, epoch ms of the claim, model ms a wall ms}
-- hs:unacked:index                                 zset  claim -> when it was last renewed, epoch ms
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- More tenants of one queue than these are remembered only while they wait; others are forgotten, whoever it hits.
local MOST_ACCOUNTS = 10000
local LONGEST_NAME = 1000

local function lane_key(kind, queue, lane) return 'hs:' .. kind .. ':' .. queue .. ':' .. lane end

local function own_key(kind, queue, lane, owner)
  return 'hs:own:' .. kind .. ':' .. #queue .. ':' .. queue .. ':' .. lane .. ':' .. owner
end

local function owner_of(tenant, agent) return #tenant .. ':' .. tenant .. ':' .. agent end

local function split(owner)
  local colon = string.find(owner, ':', 1, true)
  local last = colon + tonumber(string.sub(owner, 1, colon - 1))
  return string.sub(owner, colon + 1, last), string.sub(owner, last + 2)
end

-- Of this call: the queues' lanes, and the lanes (as keys) in which an owner is known to wait.
local known_lanes, joined = {}, {}

local function lanes_of(queue)
  if not known_lanes[queue] then known_lanes[queue] = call('SMEMBERS', 'hs:lanes:' .. queue) end
  return known_lanes[queue]
end

-- ---- accounts: of a queue's tenants, or of a tenant's agents -------------------------------------------------

local function tenants_of(queue)
  return {queue = queue, served = 'hs:served:tenants:' .. queue, waiting = 'hs:waiting:tenants:' .. queue .. ':',
          field = 'tenants'}
end

local function agents_of(queue, tenant)
  return {queue = queue, served = 'hs:served:agents:' .. #queue .. ':' .. queue .. ':' .. tenant,
          waiting = 'hs:waiting:agents:' .. #queue .. ':' .. queue .. ':' .. #tenant .. ':' .. tenant .. ':',
          field = 'agents:' .. tenant}
end

local function clock_of(accounts) return tonumber(call('HGET', 'hs:clock:' .. accounts.queue, accounts.field)) or 0 end

local function waits(accounts, name)
  for _, lane in ipairs(lanes_of(accounts.queue)) do
    if call('ZSCORE', accounts.waiting .. lane, name) then return true end
  end
  return false
end

-- The least served one of a lane and its virtual time; nil when nobody waits there.
local function least(accounts, lane)
  local first = call('ZRANGE', accounts.waiting .. lane, 0, 0, 'WITHSCORES')
  return first[1], tonumber(first[2])
end

local function forget_tenants(tenants)
  if call('ZCARD', tenants.served) <= MOST_ACCOUNTS then return end
  for _, tenant in ipairs(call('ZRANDMEMBER', tenants.served, 10)) do
    if not waits(tenants, tenant) then
      local agents = agents_of(tenants.queue, tenant)
      call('ZREM', tenants.served, tenant)
      call('DEL', agents.served)
      call('HDEL', 'hs:clock:' .. tenants.queue, agents.field)
    end
  end
end

-- That one has jobs in the lane now. Time that it spent with nothing waiting anywhere earns nothing.
local function join(accounts, lane, name)
  if call('ZSCORE', accounts.waiting .. lane, name) then return end
  local served = tonumber(call('ZSCORE', accounts.served, name))
  if not served or not waits(accounts, name) then
    served = math.max(served or 0, clock_of(accounts))
    call('ZADD', accounts.served, served, name)
  end
  call('ZADD', accounts.waiting .. lane, served, name)
  if accounts.field == 'tenants' then forget_tenants(accounts) end
end

-- At claim (ms > 0), or a correction.
local function charge(accounts, name, ms)
  local served = tonumber(call('ZSCORE', accounts.served, name)) or clock_of(accounts)
  served = served + ms
  call('ZADD', accounts.served, served, name)
  for _, lane in ipairs(lanes_of(accounts.queue)) do
    call('ZADD', accounts.waiting .. lane, 'XX', served, name)
  end
  return served
end

-- A run took so much more (or less) than its owner was charged.
local function correct(queue, tenant, agent, ms, weight)
  local function put_right(accounts, name, more)
    local served = charge(accounts, name, more)
    if served <= clock_of(accounts) and not waits(accounts, name) then
      call('ZREM', accounts.served, name) -- it would start at the clock anyhow
    end
  end
  put_right(tenants_of(queue), tenant, ms / weight)
  put_right(agents_of(queue, tenant), agent, ms)
end

-- ---- jobs ----------------------------------------------------------------------------------------------------

-- Nobody is left of that owner in the lane.
local function leave(queue, lane, owner)
  joined = {}
  local tenant, agent = split(owner)
  local agents = agents_of(queue, tenant).waiting .. lane
  call('ZREM', agents, agent)
  if call('EXISTS', agents) == 0 then call('ZREM', tenants_of(queue).waiting .. lane, tenant) end
end

local function take_out(queue, lane, id, owner)
  call('ZREM', lane_key('arrival', queue, lane), id)
  call('ZREM', lane_key('deadline', queue, lane), id)
  call('HDEL', 'hs:message:' .. queue, id)
  if not owner then return end
  call('HDEL', 'hs:owner:' .. queue, id)
  local own = own_key('arrival', queue, lane, owner)
  call('ZREM', own, id)
  call('ZREM', own_key('deadline', queue, lane, owner), id)
  if call('EXISTS', own) == 0 then leave(queue, lane, owner) end
end

local function take_out_everywhere(queue, id)
  local owner = call('HGET', 'hs:owner:' .. queue, id)
  for _, lane in ipairs(lanes_of(queue)) do
    if call('ZSCORE', lane_key('arrival', queue, lane), id)
       or owner and call('ZSCORE', own_key('arrival', queue, lane, owner), id) then
      take_out(queue, lane, id, owner)
    end
  end
  call('HDEL', 'hs:message:' .. queue, id)
  call('HDEL', 'hs:owner:' .. queue, id)
end

-- A job waits in one lane and has one owner: the last word counts.
local function put(queue, lane, id, arrival, deadline, tenant, agent, message)
  local owner = owner_of(tenant, agent)
  local before = call('HGET', 'hs:owner:' .. queue, id)
  if before and (before ~= owner or not call('ZSCORE', lane_key('arrival', queue, lane), id)) then
    take_out_everywhere(queue, id)
    before = false
  end
  call('HSET', 'hs:message:' .. queue, id, message)
  call('ZADD', lane_key('arrival', queue, lane), arrival, id)
  call('ZADD', lane_key('deadline', queue, lane), deadline, id)
  local own = own_key('arrival', queue, lane, owner)
  call('ZADD', own, arrival, id)
  call('ZADD', own_key('deadline', queue, lane, owner), deadline, id)
  if before then return end
  call('HSET', 'hs:owner:' .. queue, id, owner)
  if joined[own] then return end
  joined[own] = true
  if call('SADD', 'hs:lanes:' .. queue, lane) == 1 then known_lanes[queue] = nil end
  join(tenants_of(queue), lane, tenant)
  join(agents_of(queue, tenant), lane, agent)
end

-- Whose job a message is by its own word; plain producers say nothing here.
local function said_owner(message)
  local said = message.headers.hotset
  local function name(value, otherwise)
    if type(value) == 'string' and #value <= LONGEST_NAME then return value end
    return otherwise
  end
  if type(said) ~= 'table' then return 'default', '' end
  return name(said.tenant, 'default'), name(said.agent, '')
end
