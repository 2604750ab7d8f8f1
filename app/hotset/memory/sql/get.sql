-- memories: whole rows by id, locked when something is to be done with them.
SELECT id, scope, state, ring, text, segment, digest, subject, attribute, valid_from, valid_to, recorded_at, supersedes,
       superseded_by, said_by, source, tags, importance, pinned
FROM memories WHERE tenant = %(tenant)s AND (id = ANY(%(ids)s) OR (source->>'whole') = ANY(%(ids)s::text[])
                                              AND scope = ANY(%(scopes)s))
ORDER BY id FOR UPDATE
