-- memories of a period that no summary covers: episodes, and summaries of these smaller kinds.
SELECT m.id, m.text, m.segment, m.digest, m.said_by, s.kind, coalesce(s.starts_at, m.valid_from) AS at,
       coalesce(s.memories, 1) AS memories
FROM memories m LEFT JOIN memory_summaries s ON s.memory = m.id
WHERE m.tenant = %(tenant)s AND m.scope = %(scope)s AND m.settled AND m.expires_at IS NULL
  AND (m.ring = 'episode' OR (m.ring = 'summary' AND s.kind = ANY(%(kinds)s::text[])))
  AND m.valid_from >= %(start)s AND m.valid_from <= %(end)s
  AND coalesce(s.starts_at, m.valid_from) >= %(start)s AND coalesce(s.starts_at, m.valid_from) < %(end)s
  AND NOT EXISTS (SELECT 1 FROM memory_sources x WHERE x.source = m.id)
ORDER BY at, m.id
