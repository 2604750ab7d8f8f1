-- memory_keys, memories: keys of a scope, by the model and by rules: its properties, the most used first, as somebody
-- named them, and those of its subjects that these words are in.
WITH used AS (
    SELECT subject, attribute, named FROM memory_keys
    WHERE tenant = %(tenant)s AND scope = %(scope)s AND state = 'kept'
    UNION ALL
    SELECT subject, attribute, NULL FROM memories
    WHERE tenant = %(tenant)s AND scope = %(scope)s AND ring = 'core' AND attribute !~ 'verb:' AND /*fact*/
      AND id NOT IN (SELECT memory FROM memory_keys
                     WHERE tenant = %(tenant)s AND scope = %(scope)s AND state = 'kept')
)
(SELECT 'subject' AS kind, subject AS words, subject AS form, count(*) AS n FROM used
 WHERE string_to_array(subject, ' ') && %(words)s::text[] GROUP BY subject ORDER BY n DESC, words LIMIT %(most)s)
UNION ALL
(SELECT 'property', coalesce(min(named), attribute), attribute, count(*) AS n FROM used
 GROUP BY attribute ORDER BY n DESC, attribute LIMIT %(most)s)
