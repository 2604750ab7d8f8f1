-- Take waiting jobs out of a queue; harmless for those that are not there. Keys as in fair.lua.
--
-- ARGV: queue, then the jobs' ids
for i = 2, #ARGV do
  take_out_everywhere(ARGV[1], ARGV[i])
end
