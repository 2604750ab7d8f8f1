-- memories that no summary covers, by scope, kind (NULL: an episode) and the day on which they begin. What has a time to
-- live is left out: a summary would outlive it.
SELECT m.scope, s.kind, date_trunc('day', coalesce(s.starts_at, m.valid_from), 'UTC') AS day, count(*) AS items,
       sum(coalesce(s.memories, 1)) AS memories
FROM memories m LEFT JOIN memory_summaries s ON s.memory = m.id
WHERE m.tenant = %(tenant)s AND m.ring IN ('episode', 'summary') AND m.settled AND m.expires_at IS NULL
  AND m.valid_from <= %(now)s AND NOT EXISTS (SELECT 1 FROM memory_sources x WHERE x.source = m.id)
GROUP BY m.scope, s.kind, day ORDER BY day, m.scope
