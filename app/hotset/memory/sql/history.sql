-- memories: what was said of a topic, in the order in which it was true: the chains of these, from end to end.
WITH RECURSIVE chain AS (
    SELECT id FROM memories WHERE tenant = %(tenant)s AND id = ANY(%(ids)s)
    UNION
    SELECT m.id FROM chain c JOIN memories o ON o.id = c.id
    JOIN memories m ON m.tenant = %(tenant)s AND (m.id = o.superseded_by OR m.id = o.supersedes)
)
SELECT id, scope, state, ring, text, segment, digest, subject, attribute, valid_from, valid_to, recorded_at, supersedes,
       superseded_by, said_by, source, tags, importance, pinned
FROM memories WHERE id IN (SELECT id FROM chain) ORDER BY valid_from, recorded_at, id LIMIT 1000
