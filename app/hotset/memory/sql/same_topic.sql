-- memories: what may be of the same topic: what shares a name with it, or, without names, its subject. Nearest first.
SELECT id, text, subject, attribute, single, runs, terms, stems, valid_from, valid_to, superseded_by,
       1 - (coalesce(about, embedding) <=> %(about)s::halfvec) AS cosine
FROM memories
WHERE tenant = %(tenant)s AND scope = %(scope)s AND embedding IS NOT NULL AND id <> %(id)s
  AND id IN (SELECT memory FROM memory_terms
             WHERE tenant = %(tenant)s AND scope = %(scope)s AND term = ANY(%(names)s)
             UNION ALL
             SELECT id FROM memories
             WHERE tenant = %(tenant)s AND scope = %(scope)s AND subject = ANY(%(subjects)s)
             LIMIT 1000)
ORDER BY coalesce(about, embedding) <=> %(about)s::halfvec
LIMIT 60
