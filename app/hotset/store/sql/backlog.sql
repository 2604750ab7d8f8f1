-- jobs: open jobs by queue, state and priority; the oldest arrival, and how many wait past their deadline.
SELECT queue, state, priority, count(*) AS jobs, min(coalesce(released_at, arrived_at)) AS oldest,
       count(*) FILTER (WHERE state <> 'running' AND deadline_at < now()) AS late, now() AS now
FROM jobs
WHERE state IN ('scheduled', 'blocked', 'queued', 'running')
GROUP BY queue, state, priority
