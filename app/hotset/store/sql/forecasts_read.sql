-- forecast_errors: by queue, over the last so many wall seconds (whole hours).
SELECT queue, sum(n)::bigint AS n, sum(error_s) AS error_s, sum(abs_s) AS abs_s, sum(ahead_s) AS ahead_s
FROM forecast_errors
WHERE since >= date_trunc('hour', now() - make_interval(secs => %(within_s)s))
GROUP BY queue
ORDER BY queue
