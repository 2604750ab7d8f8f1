-- memory_segments: bodies with their checksums; row-level security says which.
SELECT id, scope, body, checksum, entries FROM memory_segments WHERE id = ANY(%(ids)s) AND tenant = %(tenant)s
