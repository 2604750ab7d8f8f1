-- memories: gone, with terms and proposals; what they closed is open again, and no other row names them.
WITH gone AS (
    DELETE FROM memories WHERE tenant = %(tenant)s AND id = ANY(%(ids)s) RETURNING id, supersedes, superseded_by, valid_to
), opened AS (
    UPDATE memories m SET superseded_by = g.superseded_by,
                         valid_to = CASE WHEN m.valid_to IS NOT NULL THEN g.valid_to END
    FROM gone g WHERE m.superseded_by = g.id AND NOT m.id = ANY(%(ids)s)
), unlinked AS (
    UPDATE memories m SET supersedes = g.supersedes
    FROM gone g WHERE m.supersedes = g.id AND NOT m.id = ANY(%(ids)s)
)
SELECT id FROM gone
