-- jobs, audit: hand a running job back to the queue (shutdown, gate closed): neither a failure nor a crash.
WITH back AS (
    UPDATE jobs SET state = 'queued', lease_until = NULL, published_at = NULL
    WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'running'
    RETURNING id, tenant, attempt
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, attempt, detail)
    SELECT tenant, %(worker)s, 'release', id, attempt, jsonb_build_object('reason', %(reason)s::text) FROM back
)
SELECT id FROM back
