-- jobs, audit: the right to run a job, with a lease and a new fencing token; no row: another has it, or it ended, or it
-- waits in another queue: run here it would load a model that nobody decided to load. A suspect is only given to who
-- runs it alone; a message that came through another lane (restored from a dead worker's claim) is published anew.
WITH mine AS (
    UPDATE jobs
    SET state = 'running', attempt = attempt + 1, worker = %(worker)s, started_at = now(), shared = false,
        lease_until = now() + make_interval(secs => %(lease_s)s)
    WHERE id = %(id)s AND state = 'queued' AND (queue_timeout_at IS NULL OR queue_timeout_at > now())
      AND (%(queue)s::text IS NULL OR queue = %(queue)s)
      AND (%(alone)s::boolean OR NOT (suspect OR crashes > 0))
    RETURNING id, attempt, agent, queue, tenant, prompt, options, run_timeout_s, max_retries, failures, crashes,
              arrived_at, deadline_at, reply_to, stream, flow, spec
), misplaced AS (
    UPDATE jobs SET published_at = NULL
    WHERE id = %(id)s AND state = 'queued' AND (suspect OR crashes > 0) AND NOT %(alone)s::boolean
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, attempt)
    SELECT tenant, %(worker)s, 'claim', id, attempt FROM mine
)
SELECT * FROM mine
