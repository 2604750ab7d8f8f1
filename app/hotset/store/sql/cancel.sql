-- jobs, audit: a waiting job is cancelled here; of a running one the worker is asked. No row: it has ended, or is unknown.
WITH asked AS (
    UPDATE jobs
    SET cancel_reason = coalesce(cancel_reason, %(reason)s),
        state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END,
        finished_at = CASE WHEN state = 'running' THEN NULL ELSE now() END,
        untold = state <> 'running'
    WHERE id = %(id)s AND state IN ('scheduled', 'blocked', 'queued', 'running')
      AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
    RETURNING id, tenant, queue, state, attempt, reply_to
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, attempt, detail)
    SELECT tenant, %(actor)s, CASE WHEN state = 'running' THEN 'cancel-asked' ELSE state END, id, attempt,
           jsonb_build_object('reason', %(reason)s::text)
    FROM asked
)
SELECT id, queue, state, reply_to FROM asked
