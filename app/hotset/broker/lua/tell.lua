-- Tell clients of their jobs: keep what may be read again, then publish it. Keys as in replies.py.
--
-- ARGV: most entries of a stream, seconds that it is kept, then per message: the client's channel, the job's channel,
--       the stream's key, the entry's id, the body; a name that is empty is left out
for i = 3, #ARGV, 5 do
  local client, job, key, id, body = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if key ~= '' then
    -- pcall: a message that is sent a second time is there already.
    redis.pcall('XADD', key, 'MAXLEN', '~', ARGV[1], id, 'e', body)
    redis.call('EXPIRE', key, ARGV[2])
  end
  if client ~= '' then redis.call('PUBLISH', client, body) end
  if job ~= '' then redis.call('PUBLISH', job, body) end
end
