-- swaps: of one GPU, those whose model was there, or on its way, when a worker last wrote; the newest first.
SELECT id, gpu, worker, decided_at, reason, model, victims, drain_s, load_s, ended_at, ok, error, jobs_served, left_at,
       idle_slot_s
FROM swaps
WHERE gpu = %(gpu)s AND left_at IS NULL AND (ok IS NULL OR ok)
ORDER BY decided_at DESC
