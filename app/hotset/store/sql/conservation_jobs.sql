-- jobs, audit: every job as its row and as its audit tell it, compared; how many of each kind, and what is wrong.
-- `state` is of the row (none: it is gone), `ended` of the audit (none: open). A job that was accepted before `since`,
-- of which no audit is kept, is `older`.
WITH story AS (
    SELECT job_id,
           count(*) FILTER (WHERE action = 'accept') AS accepts,
           count(*) FILTER (WHERE action = 'claim') AS claims,
           count(*) FILTER (WHERE action NOT IN ('accept', 'claim')) AS ends,
           min(action) FILTER (WHERE action NOT IN ('accept', 'claim')) AS ended
    FROM audit
    WHERE action IN ('accept', 'claim', 'succeeded', 'failed', 'cancelled', 'expired', 'quarantined')
      AND job_id IS NOT NULL AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
    GROUP BY job_id
), kept AS (
    SELECT id, state, attempt, arrived_at < %(since)s::timestamptz AS older FROM jobs
    WHERE %(tenant)s::text IS NULL OR tenant = %(tenant)s
), judged AS (
    SELECT coalesce(id, job_id) AS id, state, ended,
           CASE WHEN state IN ('scheduled', 'blocked', 'queued', 'running') THEN 'open' ELSE state END AS kind,
           coalesce(accepts, 0) = 0 AND coalesce(older, isfinite(%(since)s::timestamptz)) AS older,
           CASE
               WHEN coalesce(accepts, 0) = 0 THEN
                   CASE WHEN NOT coalesce(older, isfinite(%(since)s::timestamptz)) THEN 'not-accepted' END
               WHEN accepts > 1 THEN 'accepted-twice'
               WHEN ends > 1 THEN 'ended-twice'
               WHEN id IS NULL AND ended IS NULL THEN 'lost'
               WHEN id IS NULL THEN NULL
               WHEN ended IS DISTINCT FROM
                    CASE WHEN state IN ('scheduled', 'blocked', 'queued', 'running') THEN NULL ELSE state END
                   THEN 'states-differ'
               WHEN attempt <> claims THEN 'attempts-differ'
           END AS fault
    FROM kept FULL JOIN story ON story.job_id = kept.id
)
SELECT kind, ended, older, fault, count(*) AS jobs,
       (array_agg(id::text ORDER BY id) FILTER (WHERE fault IS NOT NULL))[1:5] AS first
FROM judged GROUP BY kind, ended, older, fault
