-- jobs: how many of a scope are open, and how many of it ended lately, from which a wait is estimated.
-- One partial index for each open state; what ended long ago is not looked at.
WITH open AS (
    SELECT tenant, agent, queue FROM jobs WHERE state = 'queued'
    UNION ALL SELECT tenant, agent, queue FROM jobs WHERE state = 'running'
    UNION ALL SELECT tenant, agent, queue FROM jobs WHERE state = 'scheduled'
    UNION ALL SELECT tenant, agent, queue FROM jobs WHERE state = 'blocked'
)
SELECT (SELECT count(*) FROM open WHERE CASE %(scope)s WHEN 'tenant' THEN tenant WHEN 'agent' THEN agent
                                                       ELSE queue END = %(name)s) AS open,
       (SELECT count(*) FROM jobs
        WHERE finished_at > now() - make_interval(secs => %(within_s)s)
          AND CASE %(scope)s WHEN 'tenant' THEN tenant WHEN 'agent' THEN agent ELSE queue END = %(name)s) AS ended
