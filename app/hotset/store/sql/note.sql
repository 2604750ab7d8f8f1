-- audit: something worth keeping that changes no job.
INSERT INTO audit (tenant, actor, action, job_id, detail)
VALUES (%(tenant)s, %(actor)s, %(action)s, %(job_id)s, %(detail)s::jsonb)
