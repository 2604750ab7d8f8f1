-- forecast_errors: add forecasts that came true.
INSERT INTO forecast_errors (queue, since, n, error_s, abs_s, ahead_s)
SELECT queue, date_trunc('hour', now()), count(*), sum(error_s), sum(abs(error_s)), sum(ahead_s)
FROM json_to_recordset(%(rows)s::json) AS r (queue text, error_s double precision, ahead_s double precision)
GROUP BY queue
ON CONFLICT (queue, since) DO UPDATE
SET n = forecast_errors.n + EXCLUDED.n, error_s = forecast_errors.error_s + EXCLUDED.error_s,
    abs_s = forecast_errors.abs_s + EXCLUDED.abs_s, ahead_s = forecast_errors.ahead_s + EXCLUDED.ahead_s
