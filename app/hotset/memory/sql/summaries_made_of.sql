-- memory_summaries that these memories are in, and those that these summaries are in.
WITH RECURSIVE touched AS (
    SELECT summary AS id FROM memory_sources WHERE tenant = %(tenant)s AND source = ANY(%(ids)s)
    UNION
    SELECT s.part_of FROM touched t JOIN memory_summaries s ON s.id = t.id WHERE s.part_of IS NOT NULL
)
SELECT id FROM touched
