-- messages, message_keys, subscriptions: one message per subscriber of the topic. No row of `copies`: the key exists.
WITH keyed AS (
    INSERT INTO message_keys (tenant, sender, key, body_hash, message, copies)
    SELECT %(tenant)s, %(sender)s, %(key)s, decode(%(body_hash)s, 'hex'), %(id)s,
           (SELECT count(*) FROM subscriptions WHERE tenant = %(tenant)s AND topic = %(topic)s)
    WHERE %(key)s::text IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING message
), sent AS (
    INSERT INTO messages (id, tenant, sender, recipient, topic, body, job, max_deliveries)
    SELECT gen_random_uuid(), tenant, %(sender)s, subscriber, topic, %(body)s::json, %(job)s, %(max_deliveries)s
    FROM subscriptions
    WHERE tenant = %(tenant)s AND topic = %(topic)s AND (%(key)s::text IS NULL OR EXISTS (SELECT 1 FROM keyed))
    RETURNING recipient
)
SELECT array(SELECT recipient FROM sent) AS recipients
WHERE %(key)s::text IS NULL OR EXISTS (SELECT 1 FROM keyed)
