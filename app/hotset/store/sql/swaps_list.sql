-- swaps: the newest that match; what is null asks for nothing.
SELECT id, gpu, worker, decided_at, reason, model, victims, drain_s, load_s, ended_at, ok, error, jobs_served, left_at,
       idle_slot_s
FROM swaps
WHERE (%(gpu)s::text IS NULL OR gpu = %(gpu)s) AND (%(model)s::text IS NULL OR model = %(model)s)
  AND (%(since)s::timestamptz IS NULL OR decided_at >= %(since)s)
ORDER BY decided_at DESC, id DESC
LIMIT %(limit)s
