-- memory_key_jobs: asked once more.
UPDATE memory_key_jobs SET job = %(job)s, tries = tries + 1 WHERE id = %(id)s AND tenant = %(tenant)s
