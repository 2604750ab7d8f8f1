-- memory_keys of the tenant, or of one scope; any that are left.
SELECT memory FROM memory_keys
WHERE tenant = %(tenant)s AND (%(scope)s::text IS NULL OR scope = %(scope)s) LIMIT %(limit)s
