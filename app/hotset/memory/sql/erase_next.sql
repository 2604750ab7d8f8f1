-- memories of the tenant, any that are left.
SELECT id, text FROM memories WHERE tenant = %(tenant)s LIMIT 1000
