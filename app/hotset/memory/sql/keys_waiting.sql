-- memory_key_jobs: those that wait.
SELECT id, scope, tries, job FROM memory_key_jobs WHERE tenant = %(tenant)s ORDER BY asked_at LIMIT %(limit)s
