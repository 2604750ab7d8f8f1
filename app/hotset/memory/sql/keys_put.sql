-- memory_key_jobs, memory_keys: a job that waits, and what it was asked about, numbered from 1 on.
WITH job AS (
    INSERT INTO memory_key_jobs (id, tenant, scope, job) VALUES (%(id)s, %(tenant)s, %(scope)s, %(job)s)
)
INSERT INTO memory_keys (memory, tenant, scope, state, asked, place)
SELECT memory, %(tenant)s, %(scope)s, 'asked', %(id)s, place
FROM unnest(%(memories)s::uuid[]) WITH ORDINALITY AS one (memory, place)
