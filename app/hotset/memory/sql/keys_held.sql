-- memory_key_jobs: one that still waits for this job, held until the end of the transaction.
SELECT id FROM memory_key_jobs WHERE id = %(id)s AND tenant = %(tenant)s AND job = %(job)s FOR UPDATE
