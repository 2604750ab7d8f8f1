-- memory_summaries: its answer is a memory.
UPDATE memory_summaries SET state = 'stored', memory = %(memory)s WHERE id = %(id)s AND tenant = %(tenant)s
