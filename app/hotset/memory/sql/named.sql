-- memories that share a name with the question, where many fit. Rows one by one by their ids, as in `ranked`.
SELECT m.id
FROM (SELECT DISTINCT memory FROM memory_terms
      WHERE tenant = %(tenant)s AND scope = ANY(%(scopes)s) AND term = ANY(%(terms)s) LIMIT 5000) AS t
CROSS JOIN LATERAL (SELECT * FROM memories WHERE id = t.memory LIMIT 1) AS m
WHERE /*fits*/
ORDER BY coalesce(m.about, m.embedding) <=> %(about)s::halfvec, m.id
LIMIT %(pool)s
