-- memories: what ranking needs of these, and of what took the place of them, as far as it fits.
WITH RECURSIVE chain AS (
    SELECT id FROM memories m WHERE id = ANY(%(ids)s) AND tenant = %(tenant)s
    UNION
    SELECT m.id FROM chain c JOIN memories o ON o.id = c.id JOIN memories m ON m.id = o.superseded_by
    WHERE /*fits*/
)
/*ranked*/
