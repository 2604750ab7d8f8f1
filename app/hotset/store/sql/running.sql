-- jobs: what runs now, the longest first.
SELECT id, tenant, agent, queue, priority, attempt, worker, extract(epoch FROM now() - started_at)::float8 AS for_s
FROM jobs WHERE state = 'running' ORDER BY started_at LIMIT %(limit)s
