-- subscriptions: no row: it was not subscribed.
DELETE FROM subscriptions
WHERE tenant = %(tenant)s AND topic = %(topic)s AND subscriber = %(subscriber)s
RETURNING subscriber
