-- messages: handled, by whoever has the lease; `again`: also when it was so already, for an answer lost on its way.
WITH mine AS (
    UPDATE messages SET state = 'handled', ended_at = clock_timestamp()
    WHERE id = %(id)s AND lease = %(lease)s AND ended_at IS NULL
    RETURNING id
)
SELECT id FROM mine
UNION ALL
SELECT id FROM messages WHERE id = %(id)s AND lease = %(lease)s AND state = 'handled' AND %(again)s
