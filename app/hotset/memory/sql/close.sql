-- memories: another statement took its place.
UPDATE memories SET valid_to = greatest(%(at)s, valid_from), superseded_by = %(by)s WHERE id = %(id)s
