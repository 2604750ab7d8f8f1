-- memories: what is left of what a summary was to be made of.
SELECT m.id, m.text, m.segment, m.digest, m.said_by, s.kind, coalesce(s.starts_at, m.valid_from) AS at,
       coalesce(s.memories, 1) AS memories
FROM memory_sources x JOIN memories m ON m.id = x.source LEFT JOIN memory_summaries s ON s.memory = m.id
WHERE x.tenant = %(tenant)s AND x.summary = %(id)s
ORDER BY at, m.id
