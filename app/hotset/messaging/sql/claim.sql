-- messages: leases for the next messages of an inbox (see the function in the migration). The last row has no
-- id: it says when to look again, and whether more waits.
SELECT id, sender, topic, body, job, attempts, sent_at, lease,
       -- not greatest(..., 0) alone: that takes null, which is never, for now
       CASE WHEN visible_at IS NOT NULL THEN greatest(extract(epoch FROM visible_at - clock_timestamp()), 0) END
           ::double precision AS in_s, more
FROM messages_claim(%(tenant)s, %(recipient)s, %(after)s, %(wanted)s, %(lease_s)s, %(actor)s)
