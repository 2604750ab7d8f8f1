-- memory_key_jobs of these scopes; of all without any. Held until the end of the transaction.
SELECT id, job FROM memory_key_jobs
WHERE tenant = %(tenant)s AND (%(scopes)s::text[] IS NULL OR scope = ANY(%(scopes)s)) ORDER BY id FOR UPDATE
