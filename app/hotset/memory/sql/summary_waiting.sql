-- memory_summaries: periods that wait for their jobs.
SELECT DISTINCT scope, kind, starts_at FROM memory_summaries WHERE tenant = %(tenant)s AND state = 'asked'
