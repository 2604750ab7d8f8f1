-- By their ids one by one (LIMIT keeps it so): where nothing is known of the tables' sizes yet, a join may read all that
-- the tenant has, for each of them.
SELECT m.id, m.attribute, m.valid_from, m.valid_to, m.superseded_by, m.said_by, m.terms, m.stems,
       coalesce(1 - (m.embedding <=> %(whole)s::halfvec), 0) AS whole,
       coalesce(1 - (coalesce(m.about, m.embedding) <=> %(about)s::halfvec), 0) AS about,
       halfvec_send(coalesce(m.about, m.embedding)) AS vector, m.ring = 'summary' AS summary
FROM chain c CROSS JOIN LATERAL (SELECT * FROM memories WHERE id = c.id LIMIT 1) AS m
