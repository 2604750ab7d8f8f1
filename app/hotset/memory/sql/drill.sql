-- memory_segments: a random one.
SELECT id, scope, body, checksum, entries FROM memory_segments WHERE tenant = %(tenant)s ORDER BY random() LIMIT 1
