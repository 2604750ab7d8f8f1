-- memory_keys: there will be none of these statements.
UPDATE memory_keys k SET state = 'left', asked = NULL, place = NULL, reason = one.reason
FROM unnest(%(memories)s::uuid[], %(reasons)s::text[]) AS one (memory, reason)
WHERE k.memory = one.memory AND k.tenant = %(tenant)s
