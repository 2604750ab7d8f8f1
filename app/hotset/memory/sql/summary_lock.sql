-- One at a time looks for what is due.
SELECT pg_try_advisory_xact_lock(hashtextextended(%(tenant)s, 8)) AS ours
