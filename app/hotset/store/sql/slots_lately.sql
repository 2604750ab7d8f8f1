-- slot_seconds: by GPU, over the last so many wall seconds (whole five minutes).
SELECT gpu, sum(busy) AS busy, sum(loading) AS loading, sum(draining) AS draining, sum(idle) AS idle
FROM slot_seconds
WHERE since >= date_bin('5 minutes', now() - make_interval(secs => %(within_s)s), 'epoch')
GROUP BY gpu
ORDER BY gpu
