-- swaps, slot_seconds, forecast_errors: what is older than it is kept.
WITH a AS (DELETE FROM swaps WHERE decided_at < now() - make_interval(days => %(days)s)),
     b AS (DELETE FROM slot_seconds WHERE since < now() - make_interval(days => %(days)s))
DELETE FROM forecast_errors WHERE since < now() - make_interval(days => %(days)s)
