-- jobs: scheduled jobs whose time has come are queued; the relay publishes them next.
WITH due AS (
    SELECT id FROM jobs WHERE state = 'scheduled' AND not_before <= now() ORDER BY not_before LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE jobs SET state = 'queued', published_at = NULL FROM due WHERE jobs.id = due.id
RETURNING jobs.id
