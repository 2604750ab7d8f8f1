-- jobs, results, messages, audit: erase what people and models said from a batch of terminal jobs. Ids, states, times, tokens and
-- the audit stay. An empty body_hash (no hash is empty) says that a job is erased; the hash of a short prompt could be
-- guessed. Messages that carry their answers are deleted, handled or not. Those whose flow goes on are left: their answers are still asked for.
WITH chosen AS (
    SELECT id FROM jobs
    WHERE finished_at IS NOT NULL AND body_hash <> '' AND tenant = %(tenant)s
      AND (%(ids)s::uuid[] IS NULL OR id = ANY(%(ids)s::uuid[]))
      AND NOT EXISTS (SELECT 1 FROM jobs other WHERE other.flow = jobs.flow AND other.finished_at IS NULL)
    ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE
), erased AS (
    UPDATE jobs
    SET prompt = '', metadata = '{}', options = '{}', spec = NULL, body_hash = '', cancel_reason = NULL,
        error = CASE WHEN error IS NOT NULL THEN 'erased' END
    FROM chosen WHERE jobs.id = chosen.id
    RETURNING jobs.id, jobs.tenant, jobs.attempt
), texts AS (
    UPDATE results SET text = '', thinking = '' FROM chosen WHERE results.job_id = chosen.id
)/*since 0008*/, answers AS (
    DELETE FROM messages USING chosen WHERE messages.tenant = %(tenant)s AND messages.job = chosen.id
)/*else*/, logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, detail)
    SELECT tenant, %(actor)s, 'erased', id, jsonb_strip_nulls(jsonb_build_object('reason', %(reason)s::text)) FROM erased
)
SELECT id, attempt FROM erased
