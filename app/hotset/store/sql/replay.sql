-- jobs, audit: terminal jobs are submitted again as new ones, with the same body and intervals counted from now.
WITH asked AS (
    SELECT * FROM json_to_recordset(%(rows)s::json) AS r (id uuid, old uuid, pending integer, has_dependents boolean)
), accepted AS (
    INSERT INTO jobs (id, tenant, agent, queue, priority, state, prompt, options, metadata, body_hash, replay_of,
                      reply_to, stream, deadline_at, queue_timeout_at, run_timeout_s, max_retries,
                      spec, flow, step, pending, has_dependents/*since 0008*/, send_to/*else*/)
    SELECT asked.id, tenant, agent, queue, priority, CASE WHEN asked.pending > 0 THEN 'blocked' ELSE 'queued' END,
           prompt, options, metadata, body_hash, asked.old, %(reply_to)s, stream,
           now() + (deadline_at - coalesce(released_at, arrived_at)),
           now() + (queue_timeout_at - coalesce(released_at, arrived_at)), run_timeout_s, max_retries,
           spec, flow, step, asked.pending, asked.has_dependents/*since 0008*/, send_to/*else*/
    FROM asked JOIN jobs ON jobs.id = asked.old
    RETURNING id, tenant, agent, queue, priority, arrived_at, deadline_at, state, replay_of
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, detail)
    SELECT tenant, %(actor)s, 'accept', id,
           jsonb_build_object('agent', agent, 'queue', queue, 'replay_of', replay_of) FROM accepted
    UNION ALL
    SELECT tenant, %(actor)s, 'replay', replay_of,
           jsonb_strip_nulls(jsonb_build_object('as', id, 'reason', %(reason)s::text)) FROM accepted
)
SELECT id, agent, queue, tenant, priority, arrived_at, deadline_at, state FROM accepted ORDER BY id
