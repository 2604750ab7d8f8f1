-- memories, memory_keys: what `keys_link` linked for one of these keys is as it was, where nothing else has changed it.
WITH linked AS MATERIALIZED (
    SELECT memory, follows, in_place_of, joined FROM memory_keys
    WHERE tenant = %(tenant)s AND follows IS NOT NULL AND (scope, subject, attribute) IN (
        SELECT * FROM unnest(%(scopes)s::text[], %(subjects)s::text[], %(attributes)s::text[]))
), noted AS (
    UPDATE memory_keys k SET follows = NULL, in_place_of = NULL, joined = NULL FROM linked l WHERE k.memory = l.memory
)
UPDATE memories m
SET superseded_by = CASE WHEN e.memory = m.superseded_by AND m.valid_to IS NULL THEN e.in_place_of
                         ELSE m.superseded_by END,
    supersedes = CASE WHEN l.joined AND l.follows = m.supersedes THEN NULL ELSE m.supersedes END
FROM (SELECT memory AS id FROM linked UNION SELECT follows FROM linked) t
LEFT JOIN linked e ON e.follows = t.id LEFT JOIN linked l ON l.memory = t.id
WHERE m.id = t.id
