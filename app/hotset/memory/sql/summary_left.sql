-- memory_summaries: there will be none of this period.
UPDATE memory_summaries SET state = 'left', reason = %(reason)s WHERE id = %(id)s AND tenant = %(tenant)s
