-- memories: compared with what was known before.
UPDATE memories SET settled = true, supersedes = coalesce(%(supersedes)s, supersedes),
                    valid_to = coalesce(%(valid_to)s, valid_to), superseded_by = coalesce(%(superseded_by)s, superseded_by)
WHERE id = %(id)s
