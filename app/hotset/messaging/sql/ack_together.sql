-- messages: handled, those whose lease is still held and which nobody else has locked: none is waited for.
UPDATE messages SET state = 'handled', ended_at = clock_timestamp()
-- one document, and not arrays: their lengths would have each execution planned anew
FROM json_to_recordset(%(held)s::json) AS held (id uuid, lease uuid)
CROSS JOIN LATERAL (
    SELECT ctid FROM messages
    WHERE messages.id = held.id AND messages.lease = held.lease AND ended_at IS NULL
    FOR UPDATE SKIP LOCKED
) AS mine
-- the very rows that were locked; by their ids a plan made while the table was small might read it from end to end
WHERE messages.ctid = mine.ctid
RETURNING messages.id
