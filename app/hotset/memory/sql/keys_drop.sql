-- memory_keys of these memories; what only a model made a fact of leaves the core ring.
WITH gone AS (
    DELETE FROM memory_keys WHERE tenant = %(tenant)s AND memory = ANY(%(ids)s) RETURNING memory, state
)
UPDATE memories SET ring = 'episode'
WHERE ring = 'core' AND id IN (SELECT memory FROM gone WHERE state = 'kept') AND NOT coalesce(/*fact*/, false)
