-- jobs, results, audit: end an attempt, in one statement. No row: the lease was lost, another attempt has the job.
-- What depends on the job is released or ended by a trigger (migration 0002), and its answer put into the inbox that it
-- names by another (0008), in the same transaction.
WITH ended AS (
    UPDATE jobs
    SET state = %(state)s, lease_until = NULL, error_kind = %(error_kind)s, error = %(error)s,
        finished_at = CASE WHEN %(state)s = 'scheduled' THEN NULL ELSE now() END,
        failures = failures + CASE WHEN %(error_kind)s::text IS NULL OR %(state)s = 'cancelled' THEN 0 ELSE 1 END,
        not_before = CASE WHEN %(state)s = 'scheduled' THEN now() + make_interval(secs => %(retry_in_s)s)
                          ELSE not_before END,
        published_at = CASE WHEN %(state)s = 'scheduled' THEN NULL ELSE published_at END
    WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'running'
    RETURNING id, tenant, attempt, state, reply_to, has_dependents, /*since 0008*/send_to/*else NULL::text AS send_to*/
), kept AS (
    INSERT INTO results (job_id, attempt, text, thinking, model, simulated, usage, timings)
    SELECT id, attempt, %(text)s, %(thinking)s, %(model)s, %(simulated)s, %(usage)s::jsonb, %(timings)s::jsonb
    FROM ended WHERE state = 'succeeded'
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, attempt, detail)
    SELECT tenant, %(worker)s, CASE WHEN state = 'scheduled' THEN 'retry' ELSE state END, id, attempt,
           %(detail)s::jsonb
    FROM ended
)
SELECT id, has_dependents, send_to FROM ended
