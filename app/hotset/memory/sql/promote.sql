-- memories: a text is back in its row.
UPDATE memories SET state = 'warm', text = %(text)s, segment = NULL, used_at = now() WHERE id = %(id)s AND state = 'cold'
