-- memories: what shares a name or a number with a statement, nearest first. `related`: shares one of its names.
SELECT id, text, subject, attribute, single, runs, terms, stems, valid_from, valid_to, superseded_by,
       terms && %(names)s::text[] OR subject = ANY(%(subjects)s::text[]) AS related,
       halfvec_send(embedding) AS whole, halfvec_send(coalesce(about, embedding)) AS about
FROM memories
WHERE tenant = %(tenant)s AND scope = %(scope)s AND embedding IS NOT NULL AND id <> %(id)s
  AND id IN (SELECT memory FROM memory_terms
             WHERE tenant = %(tenant)s AND scope = %(scope)s AND term = ANY(%(terms)s)
             UNION ALL
             SELECT id FROM memories
             WHERE tenant = %(tenant)s AND scope = %(scope)s AND subject = ANY(%(subjects)s)
             LIMIT 1000)
ORDER BY coalesce(about, embedding) <=> %(about)s::halfvec, id
LIMIT 80
