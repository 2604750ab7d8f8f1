-- memory_segments: read, compared, and good.
UPDATE memory_segments SET verified_at = now() WHERE id = %(id)s
