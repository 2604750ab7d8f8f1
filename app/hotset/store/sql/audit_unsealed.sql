-- audit: rows that came after the last seal, and the oldest of them.
SELECT count(*) AS entries, min(at) AS oldest FROM audit WHERE (tx, id) > (%(tx)s, %(id)s)
