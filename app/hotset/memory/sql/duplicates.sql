-- memories: the same text twice in a scope, said of the same time on: with nothing between that ended the first.
SELECT a.id AS older, b.id AS newer
FROM memories a
JOIN memories b ON b.tenant = a.tenant AND b.scope = a.scope AND b.digest = a.digest AND b.said_by = a.said_by
     AND (b.valid_from, b.recorded_at, b.id) > (a.valid_from, a.recorded_at, a.id)
WHERE a.tenant = %(tenant)s AND (a.valid_to IS NULL OR a.superseded_by = b.id) AND a.single AND b.single
  AND a.ring <> 'summary' AND b.ring <> 'summary'
  AND NOT (a.source ? 'whole') AND NOT (b.source ? 'whole')
  AND NOT EXISTS (SELECT 1 FROM memories c WHERE c.tenant = a.tenant AND c.scope = a.scope AND c.digest = a.digest
                  AND (c.valid_from, c.recorded_at, c.id) > (a.valid_from, a.recorded_at, a.id)
                  AND (c.valid_from, c.recorded_at, c.id) < (b.valid_from, b.recorded_at, b.id))
ORDER BY a.valid_from, a.id LIMIT %(limit)s
