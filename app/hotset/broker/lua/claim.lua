-- Spend one grant: take a job out of its lane, charge its owner, and hold it as unacknowledged, atomically.
-- It is the job that the selector names; unless its tenant, or its agent inside the tenant, was served more than the
-- credit ahead of the least served one that waits in the lane: then that one's. In a crowd, where more wait than
-- ARGV[9] and the oldest job is late, the credit is less, and the oldest job comes between: its owner may be ahead by
-- three credits. An overdue job is nobody's but the oldest. Keys as in fair.lua.
--
-- ARGV: queue, lane, selector (overdue | savable | oldest), claim, expected model ms, model ms that a wall ms stands
--       for, credit in model ms, tenants' weights (JSON object; 1 for those it leaves out), how many agents or
--       tenants that wait in a lane are no crowd yet
-- Returns the message, or false when the lane is empty.
local queue, lane, selector, claim = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local expected, pace, credit = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local arrival, deadline = lane_key('arrival', queue, lane), lane_key('deadline', queue, lane)
local CROWD, OLDEST_CREDITS = tonumber(ARGV[9]), 3
local messages, owners = 'hs:message:' .. queue, 'hs:owner:' .. queue

local function pick(by_arrival, by_deadline)
  if selector == 'savable' then
    local id = redis.call('ZRANGEBYSCORE', by_deadline, now, '+inf', 'LIMIT', 0, 1)[1]
    if id then return id end
  end
  return redis.call('ZRANGE', by_arrival, 0, 0)[1]
end

-- A job from before there were owners gets its own at first sight.
local function adopt(id)
  local message = redis.call('HGET', messages, id)
  if not message then return false end
  local tenant, agent = said_owner(cjson.decode(message))
  local arrived = redis.call('ZSCORE', arrival, id)
  put(queue, lane, id, arrived, redis.call('ZSCORE', deadline, id) or arrived, tenant, agent, message)
  return owner_of(tenant, agent)
end

-- Who is least served of those that wait in the lane, and how far that name is ahead of it.
local function compare(accounts, name)
  local first, lowest = least(accounts, lane)
  if first == name or not first then return first, 0 end
  return first, (tonumber(redis.call('ZSCORE', accounts.waiting .. lane, name)) or lowest) - lowest
end

-- Who is short of that owner by more than the credit, the least served one; nil: nobody.
local function short(owner, credit)
  local tenant, agent = split(owner)
  local first, ahead = compare(tenants_of(queue), tenant)
  if ahead > credit then return owner_of(first, least(agents_of(queue, first), lane) or '') end
  first, ahead = compare(agents_of(queue, tenant), agent)
  return ahead > credit and owner_of(tenant, first) or nil
end

-- How many tenants wait in the lane, or agents of that owner's, whichever are more.
local function many(owner)
  local agents = agents_of(queue, (split(owner)))
  local waiting = redis.call('ZCARD', agents.waiting .. lane)
  return math.max(waiting, redis.call('ZCARD', tenants_of(queue).waiting .. lane))
end

-- The job that is taken in place of that one, and whose it is.
local function fair(id, owner)
  local most, count = credit, many(owner)
  if count > CROWD then
    local oldest = redis.call('ZRANGE', arrival, 0, 0)[1]
    local due = tonumber(redis.call('ZSCORE', deadline, oldest))
    if due and due < now then
      if not short(owner, credit * (CROWD / count) ^ 2) then return id, owner end
      local whose = redis.call('HGET', owners, oldest) or adopt(oldest)
      if not whose then return oldest, whose end
      id, owner, most = oldest, whose, OLDEST_CREDITS * credit
    end
  end
  local first = short(owner, most)
  if not first or first == owner then return id, owner end
  return pick(own_key('arrival', queue, lane, first), own_key('deadline', queue, lane, first)), first
end

-- The clock goes on as if all who wait in the lane shared the run. It stays within the credit and this run of the
-- least served one of them, whom runs longer than expected may have put ahead of it. Then the owner is charged.
local function account(accounts, name, ms)
  local _, lowest = least(accounts, lane)
  if lowest then
    local clock = clock_of(accounts)
    local shared = math.max(lowest, clock + ms / redis.call('ZCARD', accounts.waiting .. lane))
    shared = math.min(shared, lowest + credit + ms)
    if shared > clock then
      redis.call('HSET', 'hs:clock:' .. queue, accounts.field, string.format('%.17g', shared))
    end
  end
  charge(accounts, name, ms)
end

local function weight_of(tenant)
  if ARGV[8] == '{}' then return 1 end
  return cjson.decode(ARGV[8])[tenant] or 1
end

local function hold(id, owner, message, arrived)
  local tenant, agent = split(owner)
  local weight = weight_of(tenant)
  local due = redis.call('ZSCORE', deadline, id)
  account(tenants_of(queue), tenant, expected / weight)
  account(agents_of(queue, tenant), agent, expected)
  take_out(queue, lane, id, owner)
  -- Numbers go as text: cjson would round them to 14 digits.
  local held = {queue, lane, id, arrived, due or arrived, message, tenant, agent, ARGV[5],
                string.format('%.17g', weight), string.format('%.0f', now), pace}
  redis.call('HSET', 'hs:unacked', claim, cjson.encode(held))
  redis.call('ZADD', 'hs:unacked:index', now, claim)
end

-- A member without a message can only come from a half-restored broker; the relay publishes it again.
for _ = 1, 100 do
  local id = pick(arrival, deadline)
  if not id then return false end
  local owner = redis.call('HGET', owners, id) or adopt(id)
  if owner and selector ~= 'overdue' then
    id, owner = fair(id, owner)
  end
  if not id then
    leave(queue, lane, owner)
  else
    local message, arrived = redis.call('HGET', messages, id), redis.call('ZSCORE', arrival, id)
    if message and arrived then
      hold(id, owner, message, arrived)
      return message
    end
    take_out(queue, lane, id, owner)
  end
end
return false
