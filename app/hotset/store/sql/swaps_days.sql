-- swaps, slot_seconds: by day (UTC), the newest first. Slot seconds are not known by model: null when one is asked for.
WITH of_swaps AS (
    SELECT (decided_at AT TIME ZONE 'UTC')::date AS day, count(*) FILTER (WHERE ok) AS swaps,
           count(*) FILTER (WHERE NOT ok) AS failed, sum(jobs_served) AS jobs, sum(load_s) AS load_s,
           sum(drain_s) AS drain_s
    FROM swaps
    WHERE (%(gpu)s::text IS NULL OR gpu = %(gpu)s) AND (%(model)s::text IS NULL OR model = %(model)s)
      AND (%(since)s::timestamptz IS NULL OR decided_at >= %(since)s)
    GROUP BY 1
), of_slots AS (
    SELECT (since AT TIME ZONE 'UTC')::date AS day, sum(busy) AS busy, sum(loading) AS loading,
           sum(draining) AS draining, sum(idle) AS idle
    FROM slot_seconds
    WHERE %(model)s::text IS NULL AND (%(gpu)s::text IS NULL OR gpu = %(gpu)s)
      AND (%(since)s::timestamptz IS NULL OR since >= %(since)s - interval '5 minutes')
    GROUP BY 1
)
SELECT day, coalesce(swaps, 0) AS swaps, coalesce(failed, 0) AS failed, coalesce(jobs, 0) AS jobs, load_s, drain_s,
       busy, loading, draining, idle
FROM of_swaps FULL JOIN of_slots USING (day)
ORDER BY day DESC
