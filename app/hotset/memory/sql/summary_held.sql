-- memory_summaries: one that still waits for this job, held until the end of the transaction.
SELECT id FROM memory_summaries
WHERE id = %(id)s AND tenant = %(tenant)s AND job = %(job)s AND state = 'asked' FOR UPDATE
