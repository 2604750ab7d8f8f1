-- memories, memory_keys: of what has one of these keys and is true now, each probably took the place of the one before,
-- unless the vectors of their properties are far apart: both stand, and the later goes first. Where rules had another
-- probably take it, that is noted, and put back by `keys_unlink`.
WITH said AS MATERIALIZED (
    SELECT m.id, m.supersedes, lag(m.id) OVER earlier AS before, lag(m.superseded_by) OVER earlier AS before_by,
           -(coalesce(m.about, m.embedding) <#> lag(coalesce(m.about, m.embedding)) OVER earlier) AS cosine
    FROM memory_keys k JOIN memories m ON m.id = k.memory
    WHERE k.tenant = %(tenant)s AND k.state = 'kept' AND m.valid_to IS NULL AND m.single
      AND (k.scope, k.subject, k.attribute) IN (
          SELECT * FROM unnest(%(scopes)s::text[], %(subjects)s::text[], %(attributes)s::text[]))
    WINDOW earlier AS (PARTITION BY k.scope, k.subject, k.attribute ORDER BY m.valid_from, m.recorded_at, m.id)
), pairs AS MATERIALIZED (
    SELECT before, id AS after, before_by, supersedes IS NULL AS free
    FROM said WHERE before IS NOT NULL AND before_by IS DISTINCT FROM id AND cosine >= %(near)s
), noted AS (
    UPDATE memory_keys k SET follows = p.before, in_place_of = p.before_by, joined = p.free
    FROM pairs p WHERE k.memory = p.after
)
UPDATE memories m SET superseded_by = coalesce(e.after, m.superseded_by), supersedes = coalesce(m.supersedes, l.before)
FROM (SELECT before AS id FROM pairs UNION SELECT after FROM pairs) t
LEFT JOIN pairs e ON e.before = t.id LEFT JOIN pairs l ON l.after = t.id
WHERE m.id = t.id
