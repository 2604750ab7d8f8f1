-- pauses, audit: end a pause. No row: it was not paused.
WITH resumed AS (
    DELETE FROM pauses WHERE kind = %(kind)s AND name = %(name)s RETURNING kind, name
), logged AS (
    INSERT INTO audit (tenant, actor, action, detail)
    SELECT %(tenant)s, %(actor)s, 'resume', jsonb_build_object('kind', kind, 'name', name) FROM resumed
)
SELECT kind FROM resumed
