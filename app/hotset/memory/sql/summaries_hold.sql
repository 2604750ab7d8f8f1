-- memory_summaries, held until the end of the transaction, as they are then.
SELECT id, memory, job FROM memory_summaries WHERE tenant = %(tenant)s AND id = ANY(%(ids)s) ORDER BY id FOR UPDATE
