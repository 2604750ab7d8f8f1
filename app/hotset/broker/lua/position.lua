-- How many jobs of a queue go before one of them by priority and deadline. Keys as in fair.lua.
--
-- ARGV: queue, the job's lane, its id, then the lanes that go before its own
-- Returns the number, or false when the job is not in that lane.
local queue, lane, id = ARGV[1], ARGV[2], ARGV[3]
local deadline = 'hs:deadline:' .. queue .. ':' .. lane
local due = redis.call('ZSCORE', deadline, id)
if not due then return false end

-- The rank, not a count of earlier deadlines: jobs that were submitted together have the same one.
local ahead = redis.call('ZRANK', deadline, id)
if tonumber(due) >= now then
  ahead = ahead - redis.call('ZCOUNT', deadline, '-inf', '(' .. now)
else
  -- Its deadline has passed: those that can still meet theirs go first, then the oldest.
  ahead = ahead + redis.call('ZCOUNT', deadline, now, '+inf')
end
for i = 4, #ARGV do
  ahead = ahead + redis.call('ZCARD', 'hs:arrival:' .. queue .. ':' .. ARGV[i])
end
return ahead
