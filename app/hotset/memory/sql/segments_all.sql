-- memory_segments of the tenant, after this one.
SELECT id, scope, body, checksum, entries FROM memory_segments WHERE tenant = %(tenant)s AND id > %(after)s
ORDER BY id LIMIT 20
