-- Take back what admit.lua counted: nothing was accepted. Keys as there.
--
-- ARGV: slice, then per demand: key, amount
for i = 2, #ARGV, 2 do
  if redis.call('HEXISTS', ARGV[i], ARGV[1]) == 1 then
    redis.call('HINCRBY', ARGV[i], ARGV[1], -ARGV[i + 1])
  end
end
