-- jobs: rows that nobody published for a while, or at once if they came back (attempt > 0, a schedule, a release).
SELECT id, agent, queue, tenant, priority, coalesce(released_at, arrived_at) AS arrived_at, deadline_at,
       (suspect OR crashes > 0) AS suspect
FROM jobs
WHERE published_at IS NULL AND state = 'queued'
  AND (attempt > 0 OR not_before IS NOT NULL OR released_at IS NOT NULL
       OR arrived_at < now() - make_interval(secs => %(after_s)s))
ORDER BY jobs.arrived_at LIMIT %(limit)s
FOR UPDATE SKIP LOCKED
