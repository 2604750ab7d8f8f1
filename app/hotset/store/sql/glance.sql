-- jobs: how jobs that somebody waits for stand now; neither prompts nor results.
SELECT id, state, attempt, queue, priority, (suspect OR crashes > 0) AS suspect, arrived_at, started_at, reply_to, stream
FROM jobs
WHERE id = ANY(%(ids)s) AND tenant = %(tenant)s
