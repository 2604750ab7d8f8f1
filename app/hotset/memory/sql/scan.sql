-- memories: few fit, so that every one is compared. The nearest by what is said, by the whole text, of those that share
-- a name the nearest, and of those that share a word.
WITH fitting AS MATERIALIZED (
    SELECT m.id, m.embedding <=> %(whole)s::halfvec AS d,
           coalesce(m.about, m.embedding) <=> %(about)s::halfvec AS da,
           m.terms && %(terms)s AS named, m.stems && %(stems)s AS worded
    FROM memories m WHERE /*fits*/
)
(SELECT id FROM fitting ORDER BY da, id LIMIT %(pool)s)
UNION (SELECT id FROM fitting ORDER BY d, id LIMIT %(pool)s)
UNION (SELECT id FROM fitting WHERE named ORDER BY da, id LIMIT %(pool)s)
UNION (SELECT id FROM fitting WHERE worded ORDER BY da, id LIMIT %(pool)s)
