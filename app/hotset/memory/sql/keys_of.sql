-- memory_keys: what a model found of these memories.
SELECT memory, scope, subject, attribute FROM memory_keys
WHERE tenant = %(tenant)s AND memory = ANY(%(ids)s) AND state = 'kept'
