-- Keep a message that nobody can run, and its trace for the audit. Keys as in snapshot.lua.
--
-- ARGV: queue, message, reason
local queue, raw, reason = ARGV[1], ARGV[2], ARGV[3]
redis.call('LPUSH', 'hs:quarantine', raw:sub(1, 65536))
redis.call('LTRIM', 'hs:quarantine', 0, 999)
local trace = {queue = queue, reason = reason, bytes = #raw, sha1 = redis.sha1hex(raw)}
redis.call('RPUSH', 'hs:quarantine:untold', cjson.encode(trace))
redis.call('LTRIM', 'hs:quarantine:untold', -10000, -1)
