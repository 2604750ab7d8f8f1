-- Keys of a tenant are asked for, kept and dropped one after the other, and nothing is forgotten meanwhile.
SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s, 9))
