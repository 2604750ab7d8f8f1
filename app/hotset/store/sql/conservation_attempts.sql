-- audit, jobs: the life of each job, event by event in the order of the audit's ids. A job's events are written under
-- the lock of its row, so their ids rise as they happened.
-- Every claim raises the token and is ended by exactly one of a finish, retry, release or crash of that token; an end
-- needs its claim; nothing follows a terminal event.
WITH events AS (
    SELECT job_id, id, action, attempt,
           action IN ('succeeded', 'failed', 'cancelled', 'expired', 'quarantined') AS terminal,
           lag(action) OVER life AS before,
           lag(attempt) OVER life AS before_attempt,
           lag(action) OVER life IN ('succeeded', 'failed', 'cancelled', 'expired', 'quarantined') AS after_end,
           lead(action) OVER life AS next,
           first_value(action) OVER life = 'accept' AS whole,
           max(attempt) FILTER (WHERE action = 'claim')
               OVER (PARTITION BY job_id ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS token
    FROM audit
    WHERE action IN ('accept', 'claim', 'release', 'retry', 'crash', 'shared-crash',
                     'succeeded', 'failed', 'cancelled', 'expired', 'quarantined')
      AND job_id IS NOT NULL AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
    WINDOW life AS (PARTITION BY job_id ORDER BY id)
), judged AS (
    SELECT events.job_id,
           CASE
               WHEN action = 'accept' AND before IS NOT NULL THEN 'before-acceptance'
               WHEN after_end THEN 'after-the-end'
               WHEN NOT whole THEN NULL
               WHEN action = 'claim' AND events.attempt <= token THEN 'token-not-raised'
               WHEN action = 'claim' AND (next = 'claim' OR next IS NULL AND
                    NOT coalesce(jobs.state = 'running' AND jobs.attempt = events.attempt, false)) THEN 'claim-without-end'
               WHEN action IN ('release', 'retry', 'crash', 'shared-crash', 'succeeded', 'quarantined')
                    AND (before, before_attempt) IS DISTINCT FROM ('claim', events.attempt) THEN 'end-without-claim'
               WHEN terminal AND before = 'claim' AND before_attempt <> events.attempt THEN 'end-of-another-attempt'
           END AS fault,
           action
    FROM events LEFT JOIN jobs ON jobs.id = events.job_id AND events.next IS NULL
)
SELECT fault, count(*) AS events, count(*) FILTER (WHERE action = 'claim') AS claims,
       (array_agg(DISTINCT job_id::text ORDER BY job_id::text) FILTER (WHERE fault IS NOT NULL))[1:5] AS first
FROM judged GROUP BY fault
