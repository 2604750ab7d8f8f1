-- jobs, results: one committed result for each succeeded job, of its last attempt, and none for any other.
WITH found AS (
    SELECT job_id, count(*) AS results, max(attempt) AS attempt FROM results GROUP BY job_id
), judged AS (
    SELECT coalesce(jobs.id, found.job_id) AS id,
           CASE
               WHEN jobs.id IS NULL THEN 'result-without-job'
               WHEN state = 'succeeded' AND job_id IS NULL THEN 'no-result'
               WHEN state <> 'succeeded' AND job_id IS NOT NULL THEN 'result-of-no-success'
               WHEN results > 1 THEN 'two-results'
               WHEN found.attempt <> jobs.attempt THEN 'result-of-another-attempt'
           END AS fault
    FROM jobs FULL JOIN found ON found.job_id = jobs.id
    WHERE %(tenant)s::text IS NULL OR tenant = %(tenant)s
)
SELECT fault, count(*) AS jobs, (array_agg(id::text ORDER BY id) FILTER (WHERE fault IS NOT NULL))[1:5] AS first
FROM judged GROUP BY fault
