SELECT m.id, m.attribute, m.valid_from, m.valid_to, m.superseded_by, m.said_by, m.terms, m.stems,
       coalesce(1 - (m.embedding <=> %(whole)s::halfvec), 0) AS whole,
       coalesce(1 - (coalesce(m.about, m.embedding) <=> %(about)s::halfvec), 0) AS about,
       halfvec_send(coalesce(m.about, m.embedding)) AS vector
FROM memories m WHERE m.id IN (SELECT id FROM chain)
