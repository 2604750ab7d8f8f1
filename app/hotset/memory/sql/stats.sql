-- memories: by scope, tier and ring.
SELECT scope, state, ring, count(*) AS memories, count(*) FILTER (WHERE valid_to IS NOT NULL) AS closed,
       count(*) FILTER (WHERE pinned) AS pinned, min(valid_from) AS oldest, max(recorded_at) AS newest,
       coalesce(sum(length(text)), 0) AS text_chars
FROM memories WHERE tenant = %(tenant)s GROUP BY scope, state, ring ORDER BY scope, state, ring
