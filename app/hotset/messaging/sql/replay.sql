-- messages, audit: dead letters wait again, at the end of their pairs and in the order that they had.
WITH chosen AS (
    SELECT id FROM messages
    WHERE tenant = %(tenant)s AND state = 'dead' AND (%(ids)s::uuid[] IS NULL OR id = ANY(%(ids)s))
      AND (%(recipient)s::text IS NULL OR recipient = %(recipient)s)
    ORDER BY seq LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), drawn AS (
    SELECT id, nextval(pg_get_serial_sequence('messages', 'seq')) AS seq FROM chosen
), again AS (
    UPDATE messages
    SET state = 'open', ended_at = NULL, lease = NULL, attempts = 0, visible_at = clock_timestamp(), seq = drawn.seq
    FROM drawn WHERE messages.id = drawn.id
    RETURNING messages.id, tenant, sender, recipient, job, messages.seq
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, detail)
    SELECT tenant, %(actor)s, 'message-replayed', job,
           jsonb_build_object('message', id, 'from', sender, 'to', recipient)
    FROM again
)
SELECT id, recipient FROM again ORDER BY seq
