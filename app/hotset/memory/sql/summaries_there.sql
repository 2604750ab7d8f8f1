-- Whether the tables have come to the revision that brought summaries.
SELECT to_regclass('memory_summaries') IS NOT NULL AS there
