-- memory_segments: one of the tenant's, and it goes; its memories are erased in the same transaction.
DELETE FROM memory_segments
WHERE id = (SELECT id FROM memory_segments WHERE tenant = %(tenant)s ORDER BY id LIMIT 1 FOR UPDATE)
RETURNING id, scope, body, checksum
