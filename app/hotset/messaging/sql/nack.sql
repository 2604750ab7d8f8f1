-- messages, audit: refused by whoever has the lease. Again after the delay, or the back-off; or a dead letter.
WITH mine AS (
    UPDATE messages
    SET lease = NULL, reason = %(reason)s,
        state = CASE WHEN attempts >= max_deliveries THEN 'dead' ELSE 'open' END,
        ended_at = CASE WHEN attempts >= max_deliveries THEN clock_timestamp() END,
        visible_at = clock_timestamp() + make_interval(secs => coalesce(
            %(delay_s)s, least(%(longest_s)s, %(backoff_s)s * power(2, least(attempts, 30) - 1))))
    WHERE id = %(id)s AND lease = %(lease)s AND ended_at IS NULL
    RETURNING id, tenant, sender, recipient, job, attempts, reason, state
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, detail)
    SELECT tenant, %(actor)s, 'dead-letter', job,
           jsonb_build_object('message', id, 'from', sender, 'to', recipient, 'attempts', attempts, 'reason', reason)
    FROM mine WHERE state = 'dead'
)
SELECT state FROM mine
