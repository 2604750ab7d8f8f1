-- flows, jobs, results, dependencies (by cascade), audit: delete whole flows whose jobs all finished long ago, so that
-- nobody ever reads half a flow. One that a replay outside of it was made from stays as long as the replay.
WITH old AS (
    SELECT id FROM flows
    WHERE created_at < now() - make_interval(days => %(keep_days)s)
      -- its last job to finish; one that has not finished sorts last and compares as unknown
      AND (SELECT finished_at FROM jobs WHERE jobs.flow = flows.id ORDER BY finished_at DESC NULLS FIRST LIMIT 1)
          < now() - make_interval(days => %(keep_days)s)
      AND NOT EXISTS (SELECT 1 FROM jobs JOIN jobs replay ON replay.replay_of = jobs.id
                      WHERE jobs.flow = flows.id AND replay.flow IS DISTINCT FROM flows.id)
    ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), texts AS (
    DELETE FROM results USING old, jobs WHERE jobs.flow = old.id AND results.job_id = jobs.id RETURNING results.job_id
), gone AS (
    DELETE FROM jobs USING old WHERE jobs.flow = old.id RETURNING jobs.id, jobs.flow, jobs.tenant, jobs.finished_at
), flowed AS (
    DELETE FROM flows USING old WHERE flows.id = old.id RETURNING flows.id
), logged AS (
    INSERT INTO audit (tenant, actor, action, detail)
    SELECT gone.tenant, %(actor)s, 'retention',
           jsonb_build_object('flows', count(DISTINCT gone.flow), 'jobs', count(*), 'results', count(texts.job_id),
                              'keep_days', %(keep_days)s::integer,
                              'finished_from', min(gone.finished_at), 'finished_to', max(gone.finished_at))
    FROM gone LEFT JOIN texts ON texts.job_id = gone.id GROUP BY gone.tenant
)
SELECT (SELECT count(*) FROM gone) AS jobs, (SELECT count(*) FROM texts) AS results,
       (SELECT count(*) FROM flowed) AS flows
