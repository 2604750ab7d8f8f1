-- flows: no row: the tenant has a flow of that idempotency key.
INSERT INTO flows (id, tenant, shape, idempotency_key, body_hash)
VALUES (%(id)s, %(tenant)s, %(shape)s::jsonb, %(key)s, decode(%(hash)s, 'hex'))
ON CONFLICT DO NOTHING
RETURNING id
