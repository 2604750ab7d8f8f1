-- memory_keys: by scope, state, and which model found them or why they were left.
SELECT scope, state, found_by, reason, count(*) AS keys FROM memory_keys
WHERE tenant = %(tenant)s GROUP BY scope, state, found_by, reason ORDER BY scope, state, found_by, reason
