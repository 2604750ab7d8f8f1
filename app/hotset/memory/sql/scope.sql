-- memory_tenants, memory_scopes: made at the first memory. The role may not read the tenants.
WITH tenant AS (
    INSERT INTO memory_tenants (tenant) VALUES (%(tenant)s) ON CONFLICT DO NOTHING
)
INSERT INTO memory_scopes (tenant, scope) VALUES (%(tenant)s, %(scope)s) ON CONFLICT DO NOTHING
