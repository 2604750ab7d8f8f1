-- memories that may go: their time has run out, or they are old, little important, not pinned, and either no fact of
-- the core ring or no longer true. A summary may when it is part of a larger one.
SELECT id FROM memories m
WHERE tenant = %(tenant)s AND NOT pinned
  AND (expires_at <= now()
       OR (%(keep_days)s > 0 AND greatest(recorded_at, used_at) < now() - make_interval(days => %(keep_days)s)
           AND importance < %(importance)s
           AND (ring = 'episode' OR valid_to < now() - make_interval(days => %(keep_days)s)
                OR (ring = 'summary' AND EXISTS (SELECT 1 FROM memory_sources x WHERE x.source = m.id)))))
ORDER BY recorded_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
