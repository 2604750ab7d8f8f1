"""Memory: summaries of days, weeks and months, and what each was made of.

`memory_summaries` has a row from the moment a job is asked for one: both are written by one transaction, so that no job
is asked twice and none is forgotten. `memory_sources` links it to its memories; when these go by age the links go, and
`memories` says how many there were. What a summary's job was told is texts of memories: `memory_erase_job` takes it out
of `jobs` and `results` again, with the rights of their owner, for jobs of the caller's own summaries and no others.
"""

from alembic import op

revision = "memory_0002"
down_revision = "memory_0001"
branch_labels = None
depends_on = None

UP = """
-- Not compared with the rows that are there: they satisfied the narrower one.
ALTER TABLE memories DROP CONSTRAINT memories_ring_check,
    ADD CONSTRAINT memories_ring_check CHECK (ring IN ('core', 'episode', 'summary')) NOT VALID;

CREATE TABLE memory_summaries (
    id         uuid PRIMARY KEY,
    tenant     text NOT NULL,
    scope      text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('day', 'week', 'month')),
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL CHECK (ends_at > starts_at),
    -- of a period with more than a prompt holds, or that more was said of later
    part       integer NOT NULL CHECK (part >= 0),
    -- how many episodes it is made of, by way of smaller summaries, too
    memories   integer NOT NULL CHECK (memories > 0),
    state      text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'stored', 'left')),
    -- why it is left; never a text of a memory
    reason     text,
    tries      integer NOT NULL DEFAULT 1,
    -- no foreign key: finished jobs go by their age
    job        uuid NOT NULL,
    memory     uuid REFERENCES memories ON DELETE SET NULL,
    -- the larger one that it is in: known when its own memory has gone by age, and its link with it
    part_of    uuid REFERENCES memory_summaries ON DELETE SET NULL,
    asked_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant, scope, kind, starts_at, part),
    FOREIGN KEY (tenant, scope) REFERENCES memory_scopes ON DELETE CASCADE
);
CREATE INDEX memory_summaries_asked ON memory_summaries (tenant) WHERE state = 'asked';
CREATE INDEX memory_summaries_memory ON memory_summaries (memory);
CREATE INDEX memory_summaries_job ON memory_summaries (job);
CREATE INDEX memory_summaries_part_of ON memory_summaries (part_of);

CREATE TABLE memory_sources (
    tenant   text NOT NULL,
    scope    text NOT NULL,
    summary  uuid NOT NULL REFERENCES memory_summaries ON DELETE CASCADE,
    source   uuid NOT NULL REFERENCES memories ON DELETE CASCADE,
    PRIMARY KEY (summary, source)
);
CREATE INDEX memory_sources_source ON memory_sources (source);

DO $$
DECLARE
    name text;
    mine constant text := 'tenant = (SELECT memory_tenant())';
    may constant text := ' AND ((SELECT coalesce(current_setting(''hotset.agent'', true), '''')) = '''''
                         ' OR scope = ANY ((SELECT memory_granted(%s))::text[]))';
BEGIN
    FOREACH name IN ARRAY ARRAY['memory_summaries', 'memory_sources'] LOOP
        EXECUTE format('CREATE POLICY reading ON %I FOR SELECT USING (%s)', name, mine || format(may, 'false'));
        EXECUTE format('CREATE POLICY making ON %I FOR INSERT WITH CHECK (%s)', name, mine || format(may, 'true'));
        EXECUTE format('CREATE POLICY changing ON %I FOR UPDATE USING (%s)', name, mine || format(may, 'true'));
        EXECUTE format('CREATE POLICY removing ON %I FOR DELETE USING (%s)', name, mine || format(may, 'true'));
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    END LOOP;
END $$;

-- A job that has not ended is ended first: its run, if there is one, has lost its lease and commits nothing.
CREATE FUNCTION memory_erase_job(wanted uuid, actor text, reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    found_tenant constant text := memory_tenant();
    ended record;
BEGIN
    -- Its owner may be above row-level security: what the policies say is said again.
    PERFORM 1 FROM memory_summaries s JOIN jobs j ON j.id = s.job
    WHERE s.job = wanted AND s.tenant = found_tenant AND j.tenant = found_tenant
      AND j.metadata->>'memory_summary' = s.id::text
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
    SET prompt = '', metadata = '{}', options = '{}', spec = NULL, body_hash = '', cancel_reason = NULL,
        error = CASE WHEN error IS NOT NULL THEN 'erased' END
    WHERE id = wanted;
    UPDATE results SET text = '', thinking = '' WHERE job_id = wanted;
    INSERT INTO audit (tenant, actor, action, job_id, detail)
    VALUES (found_tenant, memory_erase_job.actor, 'erased', wanted,
            jsonb_build_object('reason', memory_erase_job.reason));
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION memory_erase_job(uuid, text, text) FROM PUBLIC;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION memory_erase_job(uuid, text, text) SET search_path = %I, pg_temp', current_schema());
END $$;
"""

DOWN = """
DROP FUNCTION memory_erase_job(uuid, text, text);
DROP TABLE memory_sources;
DROP TABLE memory_summaries;
-- Their texts may lie in segments, whose checks count what is in them: what summaries there are become episodes.
UPDATE memories SET ring = 'episode' WHERE ring = 'summary';
ALTER TABLE memories DROP CONSTRAINT memories_ring_check,
    ADD CONSTRAINT memories_ring_check CHECK (ring IN ('core', 'episode'));
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(UP, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.get_bind().exec_driver_sql(DOWN, execution_options={"no_parameters": True})
