-- memory_summaries that were forgotten themselves, and are not made anew.
UPDATE memory_summaries SET state = 'left', reason = 'forgotten'
WHERE tenant = %(tenant)s AND memory = ANY(%(ids)s) AND id <> ALL(%(dropped)s::uuid[])
