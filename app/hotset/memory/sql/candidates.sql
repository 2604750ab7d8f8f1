-- memories: what ranking needs of these, and of what took the place of them (as far as it was true by then).
WITH RECURSIVE chain AS (
    SELECT id, id AS root FROM memories m WHERE id = ANY(%(ids)s) AND tenant = %(tenant)s
    UNION
    SELECT n.id, n.id FROM chain c JOIN memories o ON o.id = c.id JOIN memories n ON n.id = o.superseded_by
    WHERE n.valid_from <= %(as_of)s AND n.tenant = %(tenant)s AND n.scope = ANY(%(scopes)s)
      AND (n.expires_at IS NULL OR n.expires_at > now())
)
SELECT m.id, m.scope, m.state, m.ring, m.subject, m.attribute, m.valid_from, m.valid_to, m.recorded_at, m.supersedes,
       m.superseded_by, m.said_by, m.source, m.tags, m.importance, m.pinned, m.terms, m.stems,
       coalesce(1 - (m.embedding <=> %(whole)s::halfvec), 0) AS whole,
       coalesce(1 - (coalesce(m.about, m.embedding) <=> %(about)s::halfvec), 0) AS about
FROM memories m WHERE m.id IN (SELECT id FROM chain)
