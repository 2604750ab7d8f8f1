-- memory_segments: nothing is left in it.
DELETE FROM memory_segments WHERE id = %(id)s
