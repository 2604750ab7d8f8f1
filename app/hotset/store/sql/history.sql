-- jobs, audit: what came since a time and ran, in order of arrival. The attempts' seconds are from claim to end by the
-- audit, with who claimed; a job that waited for others or for its time came when it was let go.
WITH came AS (
    SELECT j.id, j.queue, j.agent, j.tenant, j.priority, j.deadline_at,
           GREATEST(j.arrived_at,
                    CASE WHEN j.failures = 0 AND j.crashes = 0 THEN j.not_before END,
                    (SELECT max(a.at) FROM audit a
                     WHERE a.job_id = j.id AND a.at >= j.arrived_at AND a.action = 'unblocked')) AS came_at
    FROM jobs j
    WHERE j.arrived_at >= %(since)s AND j.arrived_at < %(until)s AND j.finished_at IS NOT NULL AND j.attempt > 0
      AND (%(tenant)s::text IS NULL OR j.tenant = %(tenant)s)
)
SELECT c.id, c.queue, c.agent, c.tenant, c.priority, c.came_at,
       extract(epoch FROM c.deadline_at - c.came_at)::float8 AS deadline_s,
       extract(epoch FROM ran.first_claim - c.came_at)::float8 AS waited_s,
       ran.workers, ran.seconds
FROM came c
CROSS JOIN LATERAL (
    SELECT min(began) AS first_claim, array_agg(worker ORDER BY attempt) AS workers,
           array_agg(extract(epoch FROM ended - began)::float8 ORDER BY attempt) AS seconds
    FROM (
        SELECT a.attempt, min(a.at) FILTER (WHERE a.action = 'claim') AS began,
               min(a.actor) FILTER (WHERE a.action = 'claim') AS worker,
               max(a.at) FILTER (WHERE a.action IN ('succeeded', 'failed', 'cancelled', 'quarantined', 'retry',
                                                    'crash', 'shared-crash', 'release')) AS ended
        FROM audit a
        WHERE a.job_id = c.id AND a.at >= c.came_at - interval '1 second' AND a.attempt > 0
        GROUP BY a.attempt
    ) attempts
    WHERE began IS NOT NULL AND ended > began
) ran
WHERE ran.first_claim IS NOT NULL
ORDER BY c.came_at, c.id
