-- memories: those of a scope that no model was asked about, the oldest first, if no job of it waits.
SELECT m.id, m.text, m.segment, m.digest
FROM memories m
WHERE m.tenant = %(tenant)s AND m.scope = %(scope)s AND m.ring IN ('episode', 'core') AND m.settled AND m.single
  AND m.said_by <> 'assistant' AND (m.subject IS NOT NULL OR m.terms <> '{}')
  AND NOT EXISTS (SELECT 1 FROM memory_keys k WHERE k.memory = m.id)
  AND NOT EXISTS (SELECT 1 FROM memory_key_jobs j WHERE j.tenant = m.tenant AND j.scope = m.scope)
ORDER BY m.valid_from, m.recorded_at, m.id LIMIT %(limit)s
