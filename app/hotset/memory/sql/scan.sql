-- memories: few fit, so that every one is compared, and ranking gets what it needs in the same statement: of those that
-- share a name with the question the nearest, the nearest of all, by what is said and by the whole text; what is said of
-- names that stand beside all of the question's, in the nearest texts that have these; and what took the place of any of
-- these, as far as it fits.
WITH RECURSIVE fitting AS MATERIALIZED (
    -- Vectors have length 1: their inner product is their cosine, at a third of the work.
    SELECT m.id, m.terms, m.embedding <#> %(whole)s::halfvec AS d, coalesce(m.about, m.embedding) <#> %(about)s::halfvec AS da,
           m.terms && %(terms)s::text[] AS named, m.terms @> %(terms)s::text[] AND %(terms)s::text[] <> '{}' AS whole_name,
           m.ring = 'summary' AS summary
    FROM memories m WHERE /*fits*/
), beside AS (
    SELECT array_agg(DISTINCT term) AS terms
    FROM (SELECT terms FROM fitting WHERE whole_name AND NOT summary ORDER BY d, id LIMIT %(pool)s / 2) AS own
    CROSS JOIN LATERAL unnest(terms) AS term
    WHERE term <> ALL(%(terms)s::text[]) AND term <> ALL(%(no_names)s::text[]) AND term !~ '^[0-9]'
), chain AS (
    (
        (SELECT id FROM fitting WHERE named AND NOT summary ORDER BY da, id LIMIT %(pool)s)
        UNION (SELECT id FROM fitting WHERE NOT summary ORDER BY da, id LIMIT %(pool)s / 2)
        UNION (SELECT id FROM fitting WHERE NOT summary ORDER BY d, id LIMIT %(pool)s / 4)
        UNION (SELECT f.id FROM fitting f, beside b WHERE NOT f.named AND NOT f.summary AND f.terms && b.terms
               ORDER BY f.da, f.id LIMIT %(pool)s)
        -- apart, so that they take no place of what they are made of
        UNION (SELECT id FROM fitting WHERE summary ORDER BY d, id LIMIT %(summaries)s)
    )
    UNION
    SELECT m.id FROM chain c
    CROSS JOIN LATERAL (SELECT superseded_by FROM memories WHERE id = c.id LIMIT 1) AS o
    CROSS JOIN LATERAL (SELECT m.id FROM memories m WHERE m.id = o.superseded_by AND /*fits*/ LIMIT 1) AS m
)
/*ranked*/
