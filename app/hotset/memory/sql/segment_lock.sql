-- memory_segments: to be written anew.
SELECT id, scope, body, checksum FROM memory_segments WHERE id = ANY(%(ids)s) AND tenant = %(tenant)s ORDER BY id FOR UPDATE
