-- memories: the answers of a search. `idle`: nobody used it for an hour. A
-- `real` in binary form has more digits than it was given.
SELECT id, scope, state, ring, text, segment, digest, subject, attribute, valid_from, valid_to, recorded_at, supersedes,
       said_by, source, tags, importance::text::float8 AS importance, pinned, used_at < now() - interval '1 hour' AS idle
FROM memories WHERE id = ANY(%(ids)s) AND tenant = %(tenant)s
