-- jobs, audit: the right to run a job, with a lease and a new fencing token; no row: another has it, or it ended, or it
-- waits in another queue: run here it would load a model that nobody decided to load.
WITH mine AS (
    UPDATE jobs
    SET state = 'running', attempt = attempt + 1, worker = %(worker)s, started_at = now(),
        lease_until = now() + make_interval(secs => %(lease_s)s)
    WHERE id = %(id)s AND state = 'queued' AND (queue_timeout_at IS NULL OR queue_timeout_at > now())
      AND (%(queue)s::text IS NULL OR queue = %(queue)s)
    RETURNING id, attempt, agent, queue, tenant, prompt, options, run_timeout_s, max_retries, failures, crashes,
              arrived_at, deadline_at, reply_to, stream, flow, spec
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, attempt)
    SELECT tenant, %(worker)s, 'claim', id, attempt FROM mine
)
SELECT * FROM mine
