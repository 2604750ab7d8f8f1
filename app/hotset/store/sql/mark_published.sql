-- jobs: the broker has these.
UPDATE jobs SET published_at = now() WHERE id = ANY(%(ids)s) AND state = 'queued' AND published_at IS NULL
