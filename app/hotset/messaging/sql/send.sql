-- messages, message_keys: messages given as one JSON array, in their order. Returns those that were sent: one whose key
-- (per tenant and sender) exists is left out, the caller compares what was said.
WITH asked AS (
    SELECT * FROM json_to_recordset(%(rows)s::json) AS r (
        place integer, id uuid, sender text, recipient text, topic text, body text, job uuid, max_deliveries integer,
        key text, body_hash text)
), keyed AS (
    INSERT INTO message_keys (tenant, sender, key, body_hash, message)
    SELECT %(tenant)s, sender, key, decode(body_hash, 'hex'), id FROM asked WHERE key IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING message
)
INSERT INTO messages (id, tenant, sender, recipient, topic, body, job, max_deliveries)
SELECT id, %(tenant)s, sender, recipient, topic, body::json, job, max_deliveries
FROM asked
WHERE key IS NULL OR id IN (SELECT message FROM keyed)
ORDER BY place
RETURNING id, recipient
