-- memory_segments: without what was taken out of it.
UPDATE memory_segments SET body = %(body)s, checksum = %(checksum)s, entries = %(entries)s, text_bytes = %(text_bytes)s,
                           verified_at = NULL
WHERE id = %(id)s
