-- memory_segments: by scope.
SELECT scope, count(*) AS segments, sum(entries) AS entries, sum(length(body)) AS bytes, sum(text_bytes) AS text_bytes
FROM memory_segments WHERE tenant = %(tenant)s GROUP BY scope ORDER BY scope
