-- audit: jobs that retention deleted, by its own word; from when on the audit is kept (-infinity: from its beginning).
SELECT coalesce(sum((detail ->> 'jobs')::bigint) FILTER (WHERE action = 'retention'), 0)::bigint AS jobs,
       coalesce(max(to_date(right(detail ->> 'partition', 7), 'YYYY_MM') + interval '1 month')
                    FILTER (WHERE action = 'audit-dropped') AT TIME ZONE 'UTC', '-infinity')::text AS since
FROM audit
WHERE action IN ('retention', 'audit-dropped') AND job_id IS NULL
  AND (action = 'audit-dropped' OR %(tenant)s::text IS NULL OR tenant = %(tenant)s)
