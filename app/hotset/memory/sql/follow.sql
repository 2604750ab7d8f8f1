-- memories: what a statement that came late, but was true before, is followed by.
UPDATE memories SET supersedes = %(id)s WHERE id = %(by)s
