-- audit: rows after one place up to another, in the order in which they are sealed, each as the text that is hashed:
-- jsonb's own form, whose keys and spaces Postgres fixes, with the time in UTC to the microsecond. The texts are made of
-- the rows that are given only, whatever the plan.
SELECT tx, id, at, tenant, date_trunc('month', at AT TIME ZONE 'UTC')::date AS month,
       jsonb_build_object(
           'id', id, 'tx', tx, 'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
           'tenant', tenant, 'actor', actor, 'action', action, 'job_id', job_id, 'attempt', attempt, 'detail', detail
       )::text AS line
FROM (
    SELECT * FROM audit
    WHERE (tx, id) > (%(after_tx)s, %(after_id)s) AND (tx, id) <= (%(to_tx)s, %(to_id)s)
    ORDER BY tx, id LIMIT %(limit)s
) AS page
ORDER BY tx, id
