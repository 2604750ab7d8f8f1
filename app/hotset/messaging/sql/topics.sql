-- subscriptions: of one topic, or all of the tenant's.
SELECT topic, subscriber
FROM subscriptions
WHERE tenant = %(tenant)s AND (%(topic)s::text IS NULL OR topic = %(topic)s)
ORDER BY topic, subscriber
