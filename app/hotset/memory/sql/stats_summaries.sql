-- memory_summaries: by scope, kind and state, with why those were left that are.
SELECT scope, kind, state, reason, count(*) AS summaries, sum(memories) AS memories, min(starts_at) AS oldest,
       max(ends_at) AS newest
FROM memory_summaries WHERE tenant = %(tenant)s GROUP BY scope, kind, state, reason ORDER BY scope, kind, state, reason
