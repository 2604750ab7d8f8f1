-- messages, message_keys, audit: a batch of a tenant's messages, gone whatever their state, and its keys with the last of
-- them; one audit row for the batch.
WITH chosen AS (
    SELECT id FROM messages WHERE tenant = %(tenant)s ORDER BY seq LIMIT %(limit)s FOR UPDATE
), gone AS (
    DELETE FROM messages USING chosen WHERE messages.id = chosen.id RETURNING messages.id
), keys AS (
    DELETE FROM message_keys WHERE tenant = %(tenant)s AND (SELECT count(*) FROM chosen) < %(limit)s
), logged AS (
    INSERT INTO audit (tenant, actor, action, detail)
    SELECT %(tenant)s, %(actor)s, 'message-erased', jsonb_build_object('messages', count(*)) FROM gone HAVING count(*) > 0
)
SELECT count(*) AS messages FROM gone
