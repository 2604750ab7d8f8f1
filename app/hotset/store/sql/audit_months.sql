-- audit: months that retention dropped, by its own word, with the entries that they had.
SELECT to_date(right(detail ->> 'partition', 7), 'YYYY_MM') AS month, sum((detail ->> 'entries')::bigint)::bigint AS entries
FROM audit WHERE action = 'audit-dropped' AND job_id IS NULL GROUP BY 1
