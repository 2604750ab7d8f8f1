-- memory_scopes of the tenant.
SELECT scope FROM memory_scopes WHERE tenant = %(tenant)s ORDER BY scope
