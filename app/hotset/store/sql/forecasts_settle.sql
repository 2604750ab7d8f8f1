-- jobs: how those stand whose start was forecast.
SELECT id, state, attempt, extract(epoch FROM started_at)::double precision AS started
FROM jobs
WHERE id = ANY(%(ids)s)
