-- pauses, audit: pause a queue or a GPU. No row: it was paused already, and stays as it is.
WITH paused AS (
    INSERT INTO pauses (kind, name, by, reason) VALUES (%(kind)s, %(name)s, %(actor)s, %(reason)s)
    ON CONFLICT DO NOTHING
    RETURNING kind, name, reason
), logged AS (
    INSERT INTO audit (tenant, actor, action, detail)
    SELECT %(tenant)s, %(actor)s, 'pause', jsonb_build_object('kind', kind, 'name', name, 'reason', reason) FROM paused
)
SELECT kind FROM paused
