-- jobs: those that an erasure is about: how many there are, how many have not ended or belong to a flow that has not,
-- how many are erased already.
SELECT count(*) AS jobs,
       count(*) FILTER (WHERE finished_at IS NULL OR EXISTS (
           SELECT 1 FROM jobs other WHERE other.flow = jobs.flow AND other.finished_at IS NULL)) AS open,
       count(*) FILTER (WHERE body_hash = '') AS erased
FROM jobs
WHERE tenant = %(tenant)s AND (%(ids)s::uuid[] IS NULL OR id = ANY(%(ids)s::uuid[]))
