-- memories by the index of vectors: many fit.
SELECT m.id FROM memories m WHERE /*fits*/ ORDER BY m.embedding <=> %(whole)s::halfvec LIMIT %(pool)s
