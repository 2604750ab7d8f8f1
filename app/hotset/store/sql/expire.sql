-- jobs, audit: waiting jobs whose queue timeout has passed. That of a blocked job begins at its release.
WITH late AS (
    SELECT id FROM jobs
    WHERE queue_timeout_at < now() AND state IN ('scheduled', 'queued')
    ORDER BY queue_timeout_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), gone AS (
    UPDATE jobs SET state = 'expired', finished_at = now(), error_kind = 'QueueTimeout',
        error = 'it did not start within its queue timeout'
    FROM late WHERE jobs.id = late.id
    RETURNING jobs.id, jobs.tenant, jobs.queue, jobs.attempt, jobs.reply_to
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, attempt) SELECT tenant, %(actor)s, 'expired', id, attempt FROM gone
)
SELECT id, queue, reply_to FROM gone
