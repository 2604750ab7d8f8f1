-- memory_summaries: those that wait for their jobs.
SELECT id, scope, kind, starts_at, ends_at, memories, tries, job FROM memory_summaries
WHERE tenant = %(tenant)s AND state = 'asked' ORDER BY asked_at LIMIT %(limit)s
