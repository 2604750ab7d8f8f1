-- messages, message_keys, audit: a batch of what ended (or was keyed) long ago goes; what is open never does. The audit
-- gets one row per tenant that lost dead letters.
WITH old AS (
    SELECT id FROM messages
    WHERE ended_at < now() - make_interval(days => %(keep_days)s)
    ORDER BY ended_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM messages USING old WHERE messages.id = old.id RETURNING messages.tenant, messages.state
), keys AS (
    DELETE FROM message_keys WHERE (tenant, sender, key) IN (
        SELECT tenant, sender, key FROM message_keys
        WHERE sent_at < now() - make_interval(days => %(keep_days)s)
        ORDER BY sent_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING tenant
), logged AS (
    INSERT INTO audit (tenant, actor, action, detail)
    SELECT tenant, %(actor)s, 'retention',
           jsonb_build_object('dead_letters', count(*), 'keep_days', %(keep_days)s::integer)
    FROM gone WHERE state = 'dead' GROUP BY tenant
)
SELECT (SELECT count(*) FROM gone) AS messages, (SELECT count(*) FROM keys) AS keys
