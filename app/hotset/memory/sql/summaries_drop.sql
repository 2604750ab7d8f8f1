-- memory_summaries, with their links.
DELETE FROM memory_summaries WHERE tenant = %(tenant)s AND id = ANY(%(ids)s)
