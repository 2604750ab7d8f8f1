-- memory_summaries: asked for, as a further part of its period.
INSERT INTO memory_summaries (id, tenant, scope, kind, starts_at, ends_at, part, memories, job)
SELECT %(id)s, %(tenant)s, %(scope)s, %(kind)s, %(start)s, %(end)s, coalesce(max(part) + 1, 0), %(memories)s, %(job)s
FROM memory_summaries
WHERE tenant = %(tenant)s AND scope = %(scope)s AND kind = %(kind)s AND starts_at = %(start)s
