-- memories: their texts lie in the segment now.
UPDATE memories SET state = 'cold', text = NULL, segment = %(segment)s WHERE id = ANY(%(ids)s)
