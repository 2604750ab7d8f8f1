-- jobs, audit: a queued job that cannot be run at all (its agent is unknown here, say) fails without a run.
WITH refused AS (
    UPDATE jobs SET state = 'failed', finished_at = now(), error_kind = %(error_kind)s, error = %(error)s
    WHERE id = %(id)s AND state = 'queued'
    RETURNING id, tenant, attempt, reply_to
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, attempt, detail)
    SELECT tenant, %(worker)s, 'failed', id, attempt, jsonb_build_object('error_kind', %(error_kind)s::text) FROM refused
)
SELECT id, reply_to FROM refused
