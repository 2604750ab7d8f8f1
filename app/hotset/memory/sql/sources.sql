-- memory_sources of these memories, which are summaries: what is left of it, in its order.
SELECT s.memory, x.source
FROM memory_summaries s JOIN memory_sources x ON x.summary = s.id JOIN memories m ON m.id = x.source
WHERE s.tenant = %(tenant)s AND s.memory = ANY(%(ids)s) ORDER BY m.valid_from, m.id
