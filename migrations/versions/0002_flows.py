"""Flows: jobs that wait for other jobs, and agents that travel with their jobs.

What follows from the end of a job is done by one trigger, in the transaction that ended it, so that no way of ending a
job (finish, cancel, expire, reap, refuse, by hand) can forget it. A job without dependents pays a look at a boolean.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UP = """
-- A chain or group as its owner submitted it. `shape` holds the nesting, with the steps' numbers as leaves.
CREATE TABLE flows (
    id              uuid PRIMARY KEY,
    tenant          text NOT NULL CHECK (tenant <> '' AND length(tenant) <= 200),
    shape           jsonb NOT NULL,
    idempotency_key text CHECK (length(idempotency_key) <= 500),
    body_hash       bytea NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX flows_idempotency ON flows (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;

ALTER TABLE jobs
    ADD COLUMN flow           uuid REFERENCES flows (id),
    -- the step's number within the flow; a replayed step has several jobs
    ADD COLUMN step           integer CHECK (step >= 0),
    -- dependencies that have not succeeded yet
    ADD COLUMN pending        integer NOT NULL DEFAULT 0 CHECK (pending >= 0),
    ADD COLUMN has_dependents boolean NOT NULL DEFAULT false,
    -- when the last dependency succeeded: deadline, queue timeout, wait and place in the lanes count from here
    ADD COLUMN released_at    timestamptz,
    -- it ended where nobody could tell who waits for it; the upkeep does
    ADD COLUMN untold         boolean NOT NULL DEFAULT false,
    -- the agent as its owner declared it, when the workers need not know it
    ADD COLUMN spec           jsonb,
    ADD CHECK ((flow IS NULL) = (step IS NULL));
CREATE INDEX jobs_flow ON jobs (flow, step, id) WHERE flow IS NOT NULL;
CREATE INDEX jobs_untold ON jobs (id) WHERE untold;
-- What is blocked does not expire: its queue timeout begins at its release.
DROP INDEX jobs_queue_timeouts;
CREATE INDEX jobs_queue_timeouts ON jobs (queue_timeout_at)
    WHERE queue_timeout_at IS NOT NULL AND state IN ('scheduled', 'queued');

-- `position` is the place of the dependency's answer among those that a step is given.
CREATE TABLE dependencies (
    job        uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    -- of the same flow, which is deleted as a whole: a second foreign key would double the cost of a wide flow
    depends_on uuid NOT NULL,
    position   integer NOT NULL CHECK (position >= 0),
    PRIMARY KEY (job, position)
);
CREATE UNIQUE INDEX dependencies_dependents ON dependencies (depends_on, job);

-- Rows are locked in the order of their ids. A dependent's id is younger than those of its dependencies, so two jobs
-- that end at the same moment wait for each other in one direction only. Locking first gives the changes that follow a
-- snapshot in which what the other one did is seen.
-- Few rows by index, always: before the tables have statistics the planner would read them whole, once per level.
CREATE FUNCTION jobs_free_dependents(ended jobs) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
    PERFORM 1 FROM jobs WHERE id IN (SELECT job FROM dependencies WHERE depends_on = ended.id) AND state = 'blocked'
    ORDER BY id FOR NO KEY UPDATE;
    WITH counted AS (
        UPDATE jobs
        SET pending = pending - 1,
            state = CASE WHEN pending > 1 THEN 'blocked' WHEN not_before > now() THEN 'scheduled' ELSE 'queued' END,
            released_at = CASE WHEN pending = 1 THEN now() END,
            deadline_at = deadline_at + CASE WHEN pending = 1 THEN now() - arrived_at ELSE interval '0' END,
            queue_timeout_at = queue_timeout_at + CASE WHEN pending = 1 THEN now() - arrived_at ELSE interval '0' END
        WHERE id IN (SELECT job FROM dependencies WHERE depends_on = ended.id) AND state = 'blocked'
        RETURNING id, tenant, attempt, state
    )
    INSERT INTO audit (tenant, actor, action, job_id, attempt, detail)
    SELECT tenant, 'hotset', 'unblocked', id, attempt, jsonb_build_object('by', ended.id)
    FROM counted WHERE state <> 'blocked';
END $$;

-- Everything below the job in one go. Those that it ends do not set it off again (their error_kind says so).
CREATE FUNCTION jobs_fail_dependents(ended jobs) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    below uuid[];
BEGIN
    WITH RECURSIVE found AS (
        SELECT j.id FROM dependencies d JOIN jobs j ON j.id = d.job
        WHERE d.depends_on = ended.id AND j.state = 'blocked'
        UNION
        SELECT j.id FROM found JOIN dependencies d ON d.depends_on = found.id JOIN jobs j ON j.id = d.job
        WHERE j.state = 'blocked'
    )
    SELECT array_agg(id) INTO below FROM found;
    IF below IS NULL THEN
        RETURN;
    END IF;
    PERFORM 1 FROM jobs WHERE id = ANY(below) ORDER BY id FOR NO KEY UPDATE;
    WITH gone AS (
        UPDATE jobs
        SET state = 'failed', finished_at = now(), error_kind = 'DependencyFailed', untold = true,
            error = format('job %s (%s), on which it depends, ended as %s', ended.id, ended.agent, ended.state)
        WHERE id = ANY(below) AND state = 'blocked'
        RETURNING id, tenant, attempt
    )
    INSERT INTO audit (tenant, actor, action, job_id, attempt, detail)
    SELECT tenant, 'hotset', 'failed', id, attempt,
           jsonb_build_object('error_kind', 'DependencyFailed', 'because', ended.id)
    FROM gone;
END $$;

-- The condition is read anew for every statement that changes a state, so it is as short as can be.
CREATE FUNCTION jobs_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = OLD.state THEN
        RETURN NULL;
    ELSIF NEW.state = 'succeeded' THEN
        PERFORM jobs_free_dependents(NEW);
    ELSIF NEW.state IN ('failed', 'cancelled', 'expired', 'quarantined')
          AND NEW.error_kind IS DISTINCT FROM 'DependencyFailed' THEN
        PERFORM jobs_fail_dependents(NEW);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_followed AFTER UPDATE OF state ON jobs
    FOR EACH ROW WHEN (NEW.has_dependents) EXECUTE FUNCTION jobs_follow();
"""

# What waited for other jobs cannot wait any more: it ends, and says so.
DOWN = """
DROP TRIGGER jobs_followed ON jobs;
DROP FUNCTION jobs_follow();
DROP FUNCTION jobs_free_dependents(jobs);
DROP FUNCTION jobs_fail_dependents(jobs);
UPDATE jobs SET state = 'cancelled', finished_at = now(), cancel_reason = 'the schema went back to one without flows'
WHERE state = 'blocked';
DROP TABLE dependencies;
DROP INDEX jobs_queue_timeouts;
ALTER TABLE jobs DROP COLUMN flow, DROP COLUMN step, DROP COLUMN pending, DROP COLUMN has_dependents,
    DROP COLUMN released_at, DROP COLUMN untold, DROP COLUMN spec;
CREATE INDEX jobs_queue_timeouts ON jobs (queue_timeout_at)
    WHERE queue_timeout_at IS NOT NULL AND state IN ('scheduled', 'blocked', 'queued');
DROP TABLE flows;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(UP, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.get_bind().exec_driver_sql(DOWN, execution_options={"no_parameters": True})
