-- messages: leases for the next messages of some inboxes (see the function in the migration). The last row of each has
-- no id: it says when to look again, and whether more waits. Rows of an inbox are found by its place.
SELECT place, id, sender, topic, body, job, attempts, sent_at, lease,
       -- not greatest(..., 0) alone: that takes null, which is never, for now
       CASE WHEN visible_at IS NOT NULL THEN greatest(extract(epoch FROM visible_at - clock_timestamp()), 0) END
           ::double precision AS in_s, more
-- one document, and not arrays: their lengths would have each execution planned anew
FROM json_to_recordset(%(asked)s::json) AS asked (
    place integer, recipient text, after text, most integer, lease_s double precision)
CROSS JOIN LATERAL messages_claim(%(tenant)s, asked.recipient, asked.after, asked.most, asked.lease_s, %(actor)s)
