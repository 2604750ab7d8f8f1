-- memories by the index of vectors: many fit. It gives them nearly in order (relaxed_order finds more than strict_order
-- where a filter leaves few); ranking looks at each anyway.
WITH near AS MATERIALIZED (
    SELECT m.id, m.embedding <=> %(whole)s::halfvec AS d FROM memories m
    WHERE /*fits*/ AND m.ring <> 'summary'
    ORDER BY m.embedding <=> %(whole)s::halfvec LIMIT %(indexed)s
)
SELECT id FROM near ORDER BY d + 0, id
