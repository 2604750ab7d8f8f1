-- memory_keys: keys of these statements; each joins the core ring, as what rules found a key of.
WITH kept AS (
    INSERT INTO memory_keys AS k (memory, tenant, scope, state, subject, attribute, named, borrowed, found_by)
    SELECT m.id, m.tenant, m.scope, 'kept', one.subject, one.attribute, one.named, one.borrowed, %(found_by)s
    FROM jsonb_to_recordset(%(keys)s::jsonb)
         AS one (memory uuid, subject text, attribute text, named text, borrowed text[])
    JOIN memories m ON m.id = one.memory AND m.tenant = %(tenant)s AND m.scope = %(scope)s
    ON CONFLICT (memory) DO UPDATE
    SET state = 'kept', asked = NULL, place = NULL, reason = NULL, subject = excluded.subject,
        attribute = excluded.attribute, named = excluded.named, borrowed = excluded.borrowed, found_by = excluded.found_by
    RETURNING k.memory
)
UPDATE memories SET ring = 'core'
WHERE id IN (SELECT memory FROM kept) AND ring = 'episode' AND settled AND single AND said_by <> 'assistant'
