-- memories: what ranking needs of these, and of what took the place of them, as far as it fits.
WITH RECURSIVE chain AS (
    SELECT id FROM memories m WHERE id = ANY(%(ids)s) AND tenant = %(tenant)s
    UNION
    SELECT m.id FROM chain c JOIN memories o ON o.id = c.id JOIN memories m ON m.id = o.superseded_by
    WHERE /*fits*/
)
SELECT m.id, m.attribute, m.valid_from, m.valid_to, m.superseded_by, m.said_by, m.terms, m.stems,
       coalesce(1 - (m.embedding <=> %(whole)s::halfvec), 0) AS whole,
       coalesce(1 - (coalesce(m.about, m.embedding) <=> %(about)s::halfvec), 0) AS about
FROM memories m WHERE m.id IN (SELECT id FROM chain)
