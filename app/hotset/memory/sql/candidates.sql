-- memories: what ranking needs of these, and of what took the place of them, as far as it fits.
WITH RECURSIVE chain AS (
    SELECT id FROM memories m WHERE id = ANY(%(ids)s) AND tenant = %(tenant)s
    UNION
    SELECT m.id FROM chain c
    CROSS JOIN LATERAL (SELECT superseded_by FROM memories WHERE id = c.id LIMIT 1) AS o
    CROSS JOIN LATERAL (SELECT m.id FROM memories m WHERE m.id = o.superseded_by AND /*fits*/ LIMIT 1) AS m
)
/*ranked*/
