-- memory_summaries: asked once more.
UPDATE memory_summaries SET job = %(job)s, tries = tries + 1, reason = %(reason)s
WHERE id = %(id)s AND tenant = %(tenant)s
