-- memory_proposals: statements of one subject whose texts are nearly the same. Proposed, never merged by itself.
INSERT INTO memory_proposals (tenant, scope, older, newer, cosine)
SELECT a.tenant, a.scope, a.id, b.id, 1 - (a.embedding <=> b.embedding)
FROM memories b
CROSS JOIN LATERAL (SELECT * FROM memories x
                    WHERE x.tenant = b.tenant AND x.scope = b.scope AND x.subject = b.subject AND x.id <> b.id
                      AND (x.valid_from, x.id) < (b.valid_from, b.id) AND x.valid_to IS NULL AND x.digest <> b.digest
                    ORDER BY x.embedding <=> b.embedding LIMIT 1) AS a
WHERE b.tenant = %(tenant)s AND b.valid_to IS NULL AND b.subject IS NOT NULL
  AND b.recorded_at > now() - make_interval(secs => %(newer_s)s) AND (a.embedding <=> b.embedding) <= 0.05
ON CONFLICT DO NOTHING
