-- jobs, audit: as cancel.sql, for all open jobs of a flow. Locked in the order of their ids, as the triggers do.
WITH open AS (
    SELECT id FROM jobs
    WHERE flow = %(flow)s AND state IN ('scheduled', 'blocked', 'queued', 'running')
    ORDER BY id FOR NO KEY UPDATE
), asked AS (
    UPDATE jobs
    SET cancel_reason = coalesce(cancel_reason, %(reason)s),
        state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END,
        finished_at = CASE WHEN state = 'running' THEN NULL ELSE now() END,
        untold = state <> 'running'
    FROM open WHERE jobs.id = open.id
    RETURNING jobs.id, jobs.tenant, jobs.queue, jobs.state, jobs.attempt, jobs.reply_to
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, attempt, detail)
    SELECT tenant, %(actor)s, CASE WHEN state = 'running' THEN 'cancel-asked' ELSE state END, id, attempt,
           jsonb_build_object('reason', %(reason)s::text)
    FROM asked
)
SELECT id, queue, state, reply_to FROM asked
