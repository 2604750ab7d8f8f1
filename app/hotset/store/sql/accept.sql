-- jobs, audit: accept jobs given as one JSON array; durations are wall seconds from now.
-- Returns the ids accepted. A row whose (tenant, idempotency_key) exists is left out: the caller compares bodies.
-- What waits for others (pending) is blocked; its dependencies are written by the same transaction.
WITH asked AS (
    SELECT * FROM json_to_recordset(%(rows)s::json) AS r (
        id uuid, tenant text, agent text, queue text, priority smallint, prompt text, options jsonb, metadata jsonb,
        idempotency_key text, body_hash text, replay_of uuid, reply_to text, stream boolean,
        not_before_s double precision, deadline_s double precision, queue_timeout_s double precision,
        run_timeout_s double precision, max_retries integer, spec jsonb, flow uuid, step integer, pending integer,
        has_dependents boolean, send_to text)
), accepted AS (
    INSERT INTO jobs (id, tenant, agent, queue, priority, state, prompt, options, metadata, idempotency_key, body_hash,
                      replay_of, reply_to, stream, not_before, deadline_at, queue_timeout_at, run_timeout_s, max_retries,
                      spec, flow, step, pending, has_dependents/*since 0008*/, send_to/*else*/)
    SELECT id, tenant, agent, queue, priority,
           CASE WHEN pending > 0 THEN 'blocked' WHEN not_before_s IS NULL THEN 'queued' ELSE 'scheduled' END,
           prompt, options, metadata, idempotency_key, decode(body_hash, 'hex'), replay_of, reply_to, stream,
           now() + make_interval(secs => not_before_s), now() + make_interval(secs => deadline_s),
           now() + make_interval(secs => queue_timeout_s), run_timeout_s, max_retries,
           spec, flow, step, coalesce(pending, 0), coalesce(has_dependents, false)/*since 0008*/, send_to/*else*/
    FROM asked
    ON CONFLICT DO NOTHING
    RETURNING id, tenant, agent, queue, priority, arrived_at, deadline_at, state
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, detail)
    SELECT tenant, %(actor)s, 'accept', id, jsonb_build_object('agent', agent, 'queue', queue) FROM accepted
)
SELECT id, arrived_at, deadline_at, state FROM accepted
