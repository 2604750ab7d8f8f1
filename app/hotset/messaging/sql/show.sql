-- messages: one, with its body.
SELECT id, tenant, sender, recipient, topic, job, attempts, max_deliveries, sent_at, ended_at, reason, seq, body,
       octet_length(body::text) AS bytes,
       CASE WHEN state <> 'open' THEN state WHEN visible_at <= now() THEN 'waiting' WHEN lease IS NULL THEN 'delayed'
            ELSE 'leased' END AS state
FROM messages
WHERE id = %(id)s AND tenant = %(tenant)s
