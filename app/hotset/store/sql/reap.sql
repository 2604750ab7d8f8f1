-- jobs, audit: leases that ran out. The attempt crashed: back to the queue, or quarantine after max_crashes.
-- A job that somebody asked to cancel ends as cancelled.
WITH lost AS (
    SELECT id FROM jobs WHERE state = 'running' AND lease_until < now() ORDER BY lease_until LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), back AS (
    UPDATE jobs
    SET crashes = crashes + 1, lease_until = NULL, published_at = NULL,
        state = CASE WHEN cancel_reason IS NOT NULL THEN 'cancelled'
                     WHEN crashes + 1 >= %(max_crashes)s THEN 'quarantined' ELSE 'queued' END,
        finished_at = CASE WHEN cancel_reason IS NOT NULL OR crashes + 1 >= %(max_crashes)s THEN now() END,
        error_kind = CASE WHEN cancel_reason IS NULL AND crashes + 1 >= %(max_crashes)s THEN 'Crashed' END,
        error = CASE WHEN cancel_reason IS NULL AND crashes + 1 >= %(max_crashes)s
                     THEN format('its worker died %%s times while it ran, last %%s', crashes + 1, worker) END
    FROM lost WHERE jobs.id = lost.id
    RETURNING jobs.id, jobs.tenant, jobs.attempt, jobs.state, jobs.crashes, jobs.worker, jobs.reply_to
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, attempt, detail)
    SELECT tenant, %(actor)s, CASE state WHEN 'queued' THEN 'crash' ELSE state END, id, attempt,
           jsonb_build_object('worker', worker, 'crashes', crashes)
    FROM back
)
SELECT id, state, reply_to FROM back
