-- swaps: rows as they stand now, new ones and known ones.
INSERT INTO swaps (id, gpu, worker, decided_at, reason, model, victims, drain_s, load_s, ended_at, ok, error, jobs_served,
                   left_at, idle_slot_s)
SELECT id, gpu, worker, decided_at, reason, model, ARRAY(SELECT json_array_elements_text(victims)), drain_s, load_s,
       ended_at, ok, error, jobs_served, left_at, idle_slot_s
FROM json_to_recordset(%(rows)s::json) AS r (
    id uuid, gpu text, worker text, decided_at timestamptz, reason text, model text, victims json,
    drain_s double precision, load_s double precision, ended_at timestamptz, ok boolean, error text,
    jobs_served integer, left_at timestamptz, idle_slot_s double precision)
ON CONFLICT (id) DO UPDATE
SET drain_s = EXCLUDED.drain_s, load_s = EXCLUDED.load_s, ended_at = EXCLUDED.ended_at, ok = EXCLUDED.ok,
    error = EXCLUDED.error, jobs_served = EXCLUDED.jobs_served, left_at = EXCLUDED.left_at,
    idle_slot_s = EXCLUDED.idle_slot_s
