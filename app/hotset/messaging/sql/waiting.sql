-- messages: those of these inboxes in which something may be had now.
SELECT inbox.recipient
FROM unnest(%(recipients)s::text[]) AS inbox (recipient)
CROSS JOIN LATERAL (
    SELECT FROM messages
    WHERE tenant = %(tenant)s AND messages.recipient = inbox.recipient AND state = 'open'
      AND visible_at <= clock_timestamp()
    -- so that the index of open messages is used, however small the table was when this was planned
    ORDER BY sender, seq LIMIT 1
) AS first
