-- audit: something worth keeping that changes no job.
INSERT INTO audit (tenant, actor, action, detail) VALUES (%(tenant)s, %(actor)s, %(action)s, %(detail)s::jsonb)
