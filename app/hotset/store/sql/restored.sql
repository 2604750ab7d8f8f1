-- jobs, audit: after a restore nobody runs anything and the broker knows nothing: what ran is handed back, which counts
-- as neither a failure nor a crash, and everything that waits is published again.
WITH back AS (
    UPDATE jobs SET state = 'queued', lease_until = NULL, published_at = NULL WHERE state = 'running'
    RETURNING id, tenant, attempt
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, attempt, detail)
    SELECT tenant, %(actor)s, 'release', id, attempt, '{"reason": "restored from a backup"}'::jsonb FROM back
), waiting AS (
    UPDATE jobs SET published_at = NULL WHERE state = 'queued' AND published_at IS NOT NULL
)
INSERT INTO audit (tenant, actor, action, detail)
SELECT 'default', %(actor)s, 'restored', jsonb_build_object('handed_back', count(*)) FROM back
