"""Memory: keys of statements (subject and property) that a light model found.

`memory_keys` has a row from the moment a statement is in a job; the columns of `memories` stay what rules found, so
that a model's key is undone by taking its row away, with what followed from it (`follows`, the core ring).
`memory_key_jobs` has the jobs that wait, one a scope, written by one transaction with them. `memory_erase_job` ends and
erases these jobs, too.
"""

from alembic import op

revision = "memory_0003"
down_revision = "memory_0002"
branch_labels = None
depends_on = None

_ERASE = """
-- A job that has not ended is ended first: its run, if there is one, has lost its lease and commits nothing.
CREATE OR REPLACE FUNCTION memory_erase_job(wanted uuid, actor text, reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    found_tenant constant text := memory_tenant();
    ended record;
BEGIN
    -- Its owner may be above row-level security: what the policies say is said again.
    PERFORM 1 FROM {waiting} s JOIN jobs j ON j.id = s.job
    WHERE s.job = wanted AND s.tenant = found_tenant AND j.tenant = found_tenant
      AND j.metadata->>{mark} = s.id::text
      AND (coalesce(current_setting('hotset.agent', true), '') = '' OR s.scope = ANY (memory_granted(true)));
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE jobs SET state = 'cancelled', finished_at = now(), lease_until = NULL, untold = true
    WHERE id = wanted AND state IN ('scheduled', 'queued', 'running')
    RETURNING attempt INTO ended;
    IF FOUND THEN
        INSERT INTO audit (tenant, actor, action, job_id, attempt, detail)
        VALUES (found_tenant, memory_erase_job.actor, 'cancelled', wanted, ended.attempt,
                jsonb_build_object('reason', memory_erase_job.reason));
    END IF;
    UPDATE jobs
    SET prompt = '', metadata = '{{}}', options = '{{}}', spec = NULL, body_hash = '', cancel_reason = NULL,
        error = CASE WHEN error IS NOT NULL THEN 'erased' END
    WHERE id = wanted;
    UPDATE results SET text = '', thinking = '' WHERE job_id = wanted;
    INSERT INTO audit (tenant, actor, action, job_id, detail)
    VALUES (found_tenant, memory_erase_job.actor, 'erased', wanted,
            jsonb_build_object('reason', memory_erase_job.reason));
    RETURN true;
END $$;
-- To replace a function takes its settings away.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION memory_erase_job(uuid, text, text) SET search_path = %I, pg_temp', current_schema());
END $$;
"""

_BOTH = """(SELECT id, tenant, scope, job, 'memory_summary' AS mark FROM memory_summaries
             UNION ALL SELECT id, tenant, scope, job, 'memory_keys' FROM memory_key_jobs)"""

UP = """
-- A row as long as the job waits; with it go the statements that it was asked for, but for what was kept or left.
CREATE TABLE memory_key_jobs (
    id         uuid PRIMARY KEY,
    tenant     text NOT NULL,
    scope      text NOT NULL,
    tries      integer NOT NULL DEFAULT 1,
    -- no foreign key: finished jobs go by their age
    job        uuid NOT NULL,
    asked_at   timestamptz NOT NULL DEFAULT now(),
    -- one after the other, so that each is told the keys of those before
    UNIQUE (tenant, scope),
    FOREIGN KEY (tenant, scope) REFERENCES memory_scopes ON DELETE CASCADE
);
CREATE INDEX memory_key_jobs_job ON memory_key_jobs (job);

CREATE TABLE memory_keys (
    memory     uuid PRIMARY KEY REFERENCES memories ON DELETE CASCADE,
    tenant     text NOT NULL,
    scope      text NOT NULL,
    state      text NOT NULL CHECK (state IN ('asked', 'kept', 'left')),
    -- of what is asked: by which, and its number there
    asked      uuid REFERENCES memory_key_jobs ON DELETE CASCADE,
    place      integer,
    subject    text CHECK (length(subject) <= 200),
    attribute  text CHECK (length(attribute) <= 200),
    -- the property as the model said it, for those that come after
    named      text CHECK (length(named) <= 200),
    -- words of the key that its own sentence lacks: they may be another's, and go with it
    borrowed   text[] NOT NULL DEFAULT '{}',
    -- the name of the model
    found_by   text,
    -- why it is left; never a text
    reason     text,
    -- the statement before of the same key, where this one was put after it for that; no foreign key: only compared
    follows    uuid,
    -- what probably took the place of that one before; and whether this one took nobody's
    in_place_of uuid,
    joined     boolean,
    CHECK ((state = 'asked') = (asked IS NOT NULL)),
    CHECK ((state = 'kept') = (subject IS NOT NULL AND attribute IS NOT NULL AND found_by IS NOT NULL)),
    FOREIGN KEY (tenant, scope) REFERENCES memory_scopes ON DELETE CASCADE
);
CREATE INDEX memory_keys_of ON memory_keys (tenant, scope, subject, attribute) WHERE state = 'kept';
CREATE INDEX memory_keys_asked ON memory_keys (asked) WHERE asked IS NOT NULL;
CREATE INDEX memory_keys_follows ON memory_keys (follows) WHERE follows IS NOT NULL;
CREATE INDEX memory_keys_in_place_of ON memory_keys (in_place_of) WHERE in_place_of IS NOT NULL;

DO $$
DECLARE
    name text;
    mine constant text := 'tenant = (SELECT memory_tenant())';
    may constant text := ' AND ((SELECT coalesce(current_setting(''hotset.agent'', true), '''')) = '''''
                         ' OR scope = ANY ((SELECT memory_granted(%s))::text[]))';
BEGIN
    FOREACH name IN ARRAY ARRAY['memory_keys', 'memory_key_jobs'] LOOP
        EXECUTE format('CREATE POLICY reading ON %I FOR SELECT USING (%s)', name, mine || format(may, 'false'));
        EXECUTE format('CREATE POLICY making ON %I FOR INSERT WITH CHECK (%s)', name, mine || format(may, 'true'));
        EXECUTE format('CREATE POLICY changing ON %I FOR UPDATE USING (%s)', name, mine || format(may, 'true'));
        EXECUTE format('CREATE POLICY removing ON %I FOR DELETE USING (%s)', name, mine || format(may, 'true'));
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    END LOOP;
END $$;
""" + _ERASE.format(waiting=_BOTH, mark="s.mark")

_UNDO = """
-- What followed from a model's key goes with it.
UPDATE memories m
SET superseded_by = CASE WHEN e.memory = m.superseded_by AND m.valid_to IS NULL THEN e.in_place_of
                         ELSE m.superseded_by END,
    supersedes = CASE WHEN l.joined AND l.follows = m.supersedes THEN NULL ELSE m.supersedes END
FROM (SELECT memory AS id FROM memory_keys WHERE follows IS NOT NULL UNION SELECT follows FROM memory_keys) t
LEFT JOIN memory_keys e ON e.follows = t.id LEFT JOIN memory_keys l ON l.memory = t.id
WHERE m.id = t.id;
UPDATE memories SET ring = 'episode'
WHERE ring = 'core' AND id IN (SELECT memory FROM memory_keys WHERE state = 'kept')
  AND (subject IS NULL OR attribute IS NULL OR attribute ~ 'verb:(be|many)');
DROP TABLE memory_keys;
DROP TABLE memory_key_jobs;
"""
DOWN = _ERASE.format(waiting="memory_summaries", mark="'memory_summary'") + _UNDO


def upgrade() -> None:
    op.get_bind().exec_driver_sql(UP, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.get_bind().exec_driver_sql(DOWN, execution_options={"no_parameters": True})
