-- jobs, audit: of these jobs those that wait for their first run and cannot start by their deadline any more: before
-- `lead_s` wall seconds have passed no run of their queue can begin.
WITH late AS (
    SELECT id FROM jobs
    WHERE id = ANY(%(ids)s::uuid[]) AND state = 'queued' AND attempt = 0
      AND deadline_at < now() + make_interval(secs => %(lead_s)s)
    FOR UPDATE SKIP LOCKED
), gone AS (
    UPDATE jobs SET state = 'expired', finished_at = now(), error_kind = 'DeadlineMissed',
        error = CASE WHEN deadline_at < now() THEN 'it did not start by its deadline'
                     ELSE 'it cannot start by its deadline any more: its model is not loaded' END
    FROM late WHERE jobs.id = late.id
    RETURNING jobs.id, jobs.tenant, jobs.queue, jobs.attempt, jobs.reply_to, jobs.error
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, attempt, detail)
    SELECT tenant, %(actor)s, 'expired', id, attempt, jsonb_build_object('reason', error) FROM gone
)
SELECT id, queue, reply_to FROM gone
