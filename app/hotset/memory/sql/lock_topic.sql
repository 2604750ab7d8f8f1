-- Two statements of one topic at once are compared one after the other.
SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s || chr(10) || %(scope)s, 7))
