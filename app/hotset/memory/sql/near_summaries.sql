-- memories: summaries, where many fit; apart, so that they take no place of what they are made of.
SELECT m.id
FROM memory_summaries s CROSS JOIN LATERAL (SELECT * FROM memories WHERE id = s.memory LIMIT 1) AS m
WHERE s.tenant = %(tenant)s AND s.scope = ANY(%(scopes)s) AND s.memory IS NOT NULL AND /*fits*/
ORDER BY m.embedding <=> %(whole)s::halfvec, m.id LIMIT %(summaries)s
