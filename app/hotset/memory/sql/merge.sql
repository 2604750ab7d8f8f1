-- memories: the newer of two with one text goes into the older.
WITH gone AS (
    DELETE FROM memories WHERE id = %(newer)s AND tenant = %(tenant)s
    RETURNING id, importance, pinned, tags, valid_to, superseded_by, expires_at
), kept AS (
    UPDATE memories m SET importance = greatest(m.importance, g.importance), pinned = m.pinned OR g.pinned,
        tags = ARRAY(SELECT DISTINCT unnest(m.tags || g.tags) ORDER BY 1),
        valid_to = g.valid_to, superseded_by = g.superseded_by,
        expires_at = CASE WHEN m.expires_at IS NULL OR g.expires_at IS NULL THEN NULL
                          ELSE greatest(m.expires_at, g.expires_at) END
    FROM gone g WHERE m.id = %(older)s
)
UPDATE memories SET supersedes = %(older)s WHERE supersedes = %(newer)s AND tenant = %(tenant)s AND id <> %(older)s
