-- memories: warm ones that nobody used for so long; pinned ones stay. Of one scope, so that a segment has one owner.
SELECT id, text FROM memories
WHERE tenant = %(tenant)s AND scope = %(scope)s AND state = 'warm' AND NOT pinned
  AND used_at <= now() - make_interval(secs => %(older_s)s)
ORDER BY recorded_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
