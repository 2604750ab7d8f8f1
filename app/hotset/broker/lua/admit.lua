-- Count what is submitted against limits per minute: all of it fits and is counted, or nothing is.
--
-- hs:rate:{scope}:{kind}:{name}  hash  slice of the minute -> amount counted in it; expires when it is old
--
-- A sliding window of slices, each counted until it lies wholly outside: in no minute, wherever it begins, is there
-- more than the limit. Exact amounts, whatever their size, in at most 61 fields.
--
-- ARGV: window in ms, slices, then per demand: key, most, amount
-- Returns {0, slice} when counted; {ms to wait, number of the demand that waits longest, 1 = the first}; {-1, number}
-- for a demand that is larger than its limit.
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local window, slices = tonumber(ARGV[1]), tonumber(ARGV[2])
local width = window / slices
local current = math.floor(now / width)
local longest, which = 0, 0

for i = 3, #ARGV, 3 do
  local key, most, amount = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  if amount > most then return {-1, i / 3} end
  local flat, held, total = redis.call('HGETALL', key), {}, 0
  for f = 1, #flat, 2 do
    local slice = tonumber(flat[f])
    if slice < current - slices then
      redis.call('HDEL', key, flat[f])
    else
      held[#held + 1] = {slice, tonumber(flat[f + 1])}
      total = total + held[#held][2]
    end
  end
  if total + amount > most then
    table.sort(held, function(a, b) return a[1] < b[1] end)
    local wait = window
    for _, each in ipairs(held) do
      total = total - each[2]
      if total + amount <= most then
        wait = (each[1] + slices + 1) * width - now
        break
      end
    end
    if wait > longest then longest, which = wait, i / 3 end
  end
end
if which > 0 then return {math.max(1, math.ceil(longest)), which} end

for i = 3, #ARGV, 3 do
  redis.call('HINCRBY', ARGV[i], current, ARGV[i + 2])
  redis.call('PEXPIRE', ARGV[i], math.ceil(window + 2 * width))
end
return {0, current}
