-- memories and memory_scopes of the tenant: what there is to erase.
SELECT (SELECT count(*) FROM memories WHERE tenant = %(tenant)s) AS memories,
       (SELECT count(*) FROM memory_scopes WHERE tenant = %(tenant)s) AS scopes
