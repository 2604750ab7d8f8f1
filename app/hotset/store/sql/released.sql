-- jobs: what waited for this job and is queued now, not yet published.
SELECT id, agent, queue, tenant, priority, coalesce(released_at, arrived_at) AS arrived_at, deadline_at,
       (suspect OR crashes > 0) AS suspect
FROM dependencies JOIN jobs ON jobs.id = dependencies.job
WHERE dependencies.depends_on = %(id)s AND jobs.state = 'queued' AND jobs.published_at IS NULL
ORDER BY id
