-- jobs, results, audit: delete a batch of old finished jobs with their results; the audit gets one row per tenant.
-- The job that a replay was made from stays as long as the replay. Flows go as a whole (retention_flows).
WITH old AS (
    SELECT id FROM jobs
    WHERE finished_at < now() - make_interval(days => %(keep_days)s) AND flow IS NULL
      AND NOT EXISTS (SELECT 1 FROM jobs replay WHERE replay.replay_of = jobs.id)
    ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), texts AS (
    DELETE FROM results USING old WHERE results.job_id = old.id RETURNING results.job_id
), gone AS (
    DELETE FROM jobs USING old WHERE jobs.id = old.id RETURNING jobs.id, jobs.tenant, jobs.finished_at
), logged AS (
    INSERT INTO audit (tenant, actor, action, detail)
    SELECT gone.tenant, %(actor)s, 'retention',
           jsonb_build_object('jobs', count(*), 'results', count(texts.job_id), 'keep_days', %(keep_days)s::integer,
                              'finished_from', min(gone.finished_at), 'finished_to', max(gone.finished_at))
    FROM gone LEFT JOIN texts ON texts.job_id = gone.id GROUP BY gone.tenant
)
SELECT (SELECT count(*) FROM gone) AS jobs, (SELECT count(*) FROM texts) AS results, 0 AS flows
