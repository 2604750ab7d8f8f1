-- memories: those whose vectors another encoder made, and where their texts lie.
SELECT id, text, segment, digest FROM memories
WHERE tenant = %(tenant)s AND encoder <> %(encoder)s
LIMIT %(limit)s
