-- Whether the tables have come to the revision that brought this one.
SELECT to_regclass(%(table)s) IS NOT NULL AS there
