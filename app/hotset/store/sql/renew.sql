-- jobs: the heartbeat. Returns the attempts that are still ours, and whether somebody asked to cancel them.
UPDATE jobs SET lease_until = now() + make_interval(secs => %(lease_s)s)
FROM unnest(%(ids)s::uuid[], %(attempts)s::integer[]) AS held (id, attempt)
WHERE jobs.id = held.id AND jobs.attempt = held.attempt AND jobs.state = 'running'
RETURNING jobs.id, jobs.attempt, jobs.cancel_reason
