-- audit: what ended in the last so many wall seconds, and the tokens of it; read by the primary key's time.
SELECT action, count(*) AS jobs, coalesce(sum((detail ->> 'output_tokens')::bigint), 0) AS tokens
FROM audit
WHERE at > now() - make_interval(secs => %(within_s)s)
  AND action IN ('succeeded', 'failed', 'cancelled', 'expired', 'quarantined', 'retry', 'crash', 'shared-crash')
GROUP BY action
