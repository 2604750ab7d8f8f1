-- memories: what shares a name or a number with a statement, nearest first. `related`: shares one of its names.
-- Rows one by one by their ids (LIMIT keeps it so), as in `ranked`.
WITH sharing AS MATERIALIZED (
    SELECT DISTINCT id
    FROM (SELECT memory AS id FROM memory_terms
          WHERE tenant = %(tenant)s AND scope = %(scope)s AND term = ANY(%(terms)s)
          UNION ALL
          SELECT id FROM memories
          WHERE tenant = %(tenant)s AND scope = %(scope)s AND subject = ANY(%(subjects)s)
          LIMIT 1000) AS found
)
SELECT m.id, m.text, m.subject, m.attribute, m.single, m.runs, m.terms, m.stems, m.valid_from, m.valid_to, m.superseded_by,
       m.terms && %(names)s::text[] OR m.subject = ANY(%(subjects)s::text[]) AS related,
       halfvec_send(m.embedding) AS whole, halfvec_send(coalesce(m.about, m.embedding)) AS about
FROM sharing s CROSS JOIN LATERAL (SELECT * FROM memories WHERE id = s.id LIMIT 1) AS m
WHERE m.embedding IS NOT NULL AND m.id <> %(id)s
ORDER BY coalesce(m.about, m.embedding) <=> %(about)s::halfvec, m.id
LIMIT 80
