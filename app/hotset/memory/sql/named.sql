-- memories that share a name with the question, where many fit.
SELECT m.id FROM memories m
WHERE /*fits*/
  AND m.id IN (SELECT memory FROM memory_terms t
               WHERE t.tenant = %(tenant)s AND t.scope = ANY(%(scopes)s) AND t.term = ANY(%(terms)s) LIMIT 5000)
ORDER BY coalesce(m.about, m.embedding) <=> %(about)s::halfvec, m.id
LIMIT %(pool)s
