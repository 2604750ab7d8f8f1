-- flows, jobs, results: what retention_jobs and retention_flows would delete, batch after batch, at this moment.
WITH RECURSIVE kept AS (
    SELECT id, flow, replay_of FROM jobs
    WHERE (flow IS NOT NULL OR replay_of IS NOT NULL)
      AND (finished_at IS NULL OR finished_at >= now() - make_interval(days => %(keep_days)s))
    UNION
    -- what a kept job was replayed from, and the rest of its flow
    SELECT jobs.id, jobs.flow, jobs.replay_of FROM kept JOIN jobs ON jobs.id = kept.replay_of OR jobs.flow = kept.flow
)
SELECT count(*) AS jobs, count(results.job_id) AS results, count(DISTINCT jobs.flow) AS flows
FROM jobs LEFT JOIN results ON results.job_id = jobs.id
WHERE finished_at < now() - make_interval(days => %(keep_days)s)
  AND NOT EXISTS (SELECT 1 FROM kept WHERE kept.id = jobs.id)
