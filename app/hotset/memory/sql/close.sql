-- memories: another statement took its place, or, without a time, probably did: then it stands.
UPDATE memories SET superseded_by = %(by)s,
                    valid_to = CASE WHEN %(at)s::timestamptz IS NULL THEN valid_to ELSE greatest(%(at)s, valid_from) END
WHERE id = %(id)s
