-- jobs: those of them that have ended, the first that did.
SELECT id FROM jobs WHERE id = ANY(%(ids)s::uuid[]) AND finished_at IS NOT NULL ORDER BY finished_at LIMIT %(limit)s
