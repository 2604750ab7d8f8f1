-- jobs: rows that nobody published for a while, or at once if they came back (attempt > 0 or a schedule).
SELECT id, agent, queue, tenant, priority, arrived_at, deadline_at, crashes > 0 AS suspect
FROM jobs
WHERE published_at IS NULL AND state = 'queued'
  AND (attempt > 0 OR not_before IS NOT NULL OR arrived_at < now() - make_interval(secs => %(after_s)s))
ORDER BY arrived_at LIMIT %(limit)s
FOR UPDATE SKIP LOCKED
