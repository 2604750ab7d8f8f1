-- subscriptions: no row: it was subscribed already, or the topic is full.
INSERT INTO subscriptions (tenant, topic, subscriber)
SELECT %(tenant)s, %(topic)s, %(subscriber)s
WHERE (SELECT count(*) FROM subscriptions WHERE tenant = %(tenant)s AND topic = %(topic)s) < %(most)s
ON CONFLICT DO NOTHING
RETURNING subscriber
