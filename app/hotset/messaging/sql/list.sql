-- messages: the newest that match, without bodies.
SELECT id, tenant, sender, recipient, topic, job, attempts, max_deliveries, sent_at, ended_at, reason, seq,
       octet_length(body::text) AS bytes,
       CASE WHEN state <> 'open' THEN state WHEN visible_at <= now() THEN 'waiting' WHEN lease IS NULL THEN 'delayed'
            ELSE 'leased' END AS state
FROM messages
WHERE tenant = %(tenant)s
  AND (%(before)s::bigint IS NULL OR seq < %(before)s)
  AND (%(recipient)s::text IS NULL OR recipient = %(recipient)s)
  AND (%(sender)s::text IS NULL OR sender = %(sender)s)
  AND (%(topic)s::text IS NULL OR topic = %(topic)s)
  AND (%(states)s::text[] IS NULL OR state = ANY(%(states)s))
  AND (%(leased)s::boolean IS NULL OR (visible_at > now()) = %(leased)s)
ORDER BY seq DESC LIMIT %(limit)s
