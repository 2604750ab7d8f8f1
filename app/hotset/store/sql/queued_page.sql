-- jobs: a page of queued rows, published some time ago, to compare with the broker.
SELECT id, agent, queue, tenant, priority, coalesce(released_at, arrived_at) AS arrived_at, deadline_at,
       (suspect OR crashes > 0) AS suspect
FROM jobs
WHERE state = 'queued' AND id > %(after)s AND published_at < now() - make_interval(secs => %(older_s)s)
ORDER BY id LIMIT %(limit)s
