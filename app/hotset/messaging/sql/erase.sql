-- messages, audit: gone, whatever its state; the audit keeps who and when, not what was said.
WITH gone AS (
    DELETE FROM messages WHERE id = %(id)s AND tenant = %(tenant)s
    RETURNING id, tenant, sender, recipient, job, state
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, detail)
    SELECT tenant, %(actor)s, 'message-erased', job,
           jsonb_build_object('message', id, 'from', sender, 'to', recipient, 'state', state)
    FROM gone
)
SELECT id FROM gone
