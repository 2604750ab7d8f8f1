-- jobs: whose tokens the cache may still keep: erased ones that ended a short while ago, attempt by attempt.
SELECT id, attempt FROM jobs
WHERE tenant = %(tenant)s AND body_hash = '' AND finished_at > now() - make_interval(secs => %(within_s)s)
  AND attempt > 0 AND (%(ids)s::uuid[] IS NULL OR id = ANY(%(ids)s::uuid[]))
