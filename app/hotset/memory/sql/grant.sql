-- memory_grants: given, or given anew.
INSERT INTO memory_grants (tenant, scope, agent, can_write, granted_by, expires_at)
VALUES (%(tenant)s, %(scope)s, %(agent)s, %(write)s, %(by)s, now() + make_interval(secs => %(ttl_s)s))
ON CONFLICT (tenant, scope, agent) DO UPDATE
SET can_write = excluded.can_write, granted_by = excluded.granted_by, granted_at = now(),
    expires_at = excluded.expires_at
