-- memories: scopes with statements that no model was asked about, and none of which waits: how many, and since when the
-- first of them is there. Of what names nothing there is no key.
SELECT m.scope, count(*) AS statements, min(m.recorded_at) <= now() - make_interval(secs => %(wait_s)s) AS waited
FROM memories m
WHERE m.tenant = %(tenant)s AND m.ring IN ('episode', 'core') AND m.settled AND m.single AND m.said_by <> 'assistant'
  AND (m.subject IS NOT NULL OR m.terms <> '{}')
  AND NOT EXISTS (SELECT 1 FROM memory_keys k WHERE k.memory = m.id)
  AND NOT EXISTS (SELECT 1 FROM memory_key_jobs j WHERE j.tenant = m.tenant AND j.scope = m.scope)
GROUP BY m.scope ORDER BY min(m.recorded_at), m.scope
