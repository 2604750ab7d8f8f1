"""Jobs, results, audit: the truth.

The legal transitions are the table of `hotset.jobs.states`; a test compares the two.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UP = """
CREATE TABLE jobs (
    id               uuid PRIMARY KEY,
    tenant           text NOT NULL CHECK (tenant <> '' AND length(tenant) <= 200),
    agent            text NOT NULL CHECK (length(agent) <= 200),
    queue            text NOT NULL CHECK (length(queue) <= 200),
    priority         smallint NOT NULL DEFAULT 1 CHECK (priority BETWEEN 0 AND 3),
    state            text NOT NULL CHECK (state IN ('scheduled', 'blocked', 'queued', 'running', 'succeeded',
                                                    'failed', 'cancelled', 'expired', 'quarantined')),
    prompt           text NOT NULL,
    options          jsonb NOT NULL DEFAULT '{}',
    metadata         jsonb NOT NULL DEFAULT '{}',
    idempotency_key  text CHECK (length(idempotency_key) <= 500),
    -- SHA-256 of what was asked: the same key with another body is an error
    body_hash        bytea NOT NULL,
    replay_of        uuid REFERENCES jobs (id),
    reply_to         text,
    stream           boolean NOT NULL DEFAULT false,
    arrived_at       timestamptz NOT NULL DEFAULT now(),
    not_before       timestamptz,
    deadline_at      timestamptz NOT NULL,
    queue_timeout_at timestamptz,
    run_timeout_s    double precision CHECK (run_timeout_s > 0),
    max_retries      integer CHECK (max_retries >= 0),
    -- the fencing token, raised at every claim; failures and crashes are counted apart
    attempt          integer NOT NULL DEFAULT 0,
    failures         integer NOT NULL DEFAULT 0,
    crashes          integer NOT NULL DEFAULT 0,
    worker           text,
    lease_until      timestamptz,
    cancel_reason    text,
    started_at       timestamptz,
    finished_at      timestamptz,
    error_kind       text,
    error            text,
    -- the outbox: a queued row without it has not been given to the broker
    published_at     timestamptz,
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'cancelled', 'expired', 'quarantined')) = (finished_at IS NOT NULL))
);
CREATE UNIQUE INDEX jobs_idempotency ON jobs (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_unpublished ON jobs (arrived_at) WHERE published_at IS NULL AND state = 'queued';
CREATE INDEX jobs_scheduled ON jobs (not_before) WHERE state = 'scheduled';
CREATE INDEX jobs_leases ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_queued ON jobs (id) WHERE state = 'queued';
CREATE INDEX jobs_queue_timeouts ON jobs (queue_timeout_at)
    WHERE queue_timeout_at IS NOT NULL AND state IN ('scheduled', 'blocked', 'queued');
CREATE INDEX jobs_by_tenant ON jobs (tenant, arrived_at);

CREATE FUNCTION jobs_check_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.state, NEW.state) IN (
        ('scheduled', 'queued'), ('blocked', 'queued'), ('blocked', 'scheduled'), ('blocked', 'failed'),
        ('queued', 'running'), ('queued', 'failed'),
        ('running', 'queued'), ('running', 'scheduled'), ('running', 'succeeded'), ('running', 'failed'),
        ('running', 'cancelled'), ('running', 'quarantined'),
        ('scheduled', 'cancelled'), ('blocked', 'cancelled'), ('queued', 'cancelled'),
        ('scheduled', 'expired'), ('blocked', 'expired'), ('queued', 'expired')
    ) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER jobs_transition BEFORE UPDATE OF state ON jobs
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION jobs_check_transition();

CREATE FUNCTION jobs_check_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the attempt of job % cannot go back from % to %', OLD.id, OLD.attempt, NEW.attempt
        USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER jobs_attempt BEFORE UPDATE OF attempt ON jobs
    FOR EACH ROW WHEN (NEW.attempt < OLD.attempt) EXECUTE FUNCTION jobs_check_attempt();

-- One committed result per job: the primary key says so.
CREATE TABLE results (
    job_id      uuid PRIMARY KEY REFERENCES jobs (id),
    attempt     integer NOT NULL,
    text        text NOT NULL,
    thinking    text NOT NULL DEFAULT '',
    model       text NOT NULL,
    simulated   boolean NOT NULL,
    usage       jsonb NOT NULL DEFAULT '{}',
    timings     jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE audit (
    id      bigint GENERATED ALWAYS AS IDENTITY,
    at      timestamptz NOT NULL DEFAULT now(),
    tenant  text NOT NULL,
    actor   text NOT NULL,
    action  text NOT NULL,
    job_id  uuid,
    attempt integer,
    detail  jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
-- Catches what no month takes, so that a late upkeep never refuses a write.
CREATE TABLE audit_default PARTITION OF audit DEFAULT;
CREATE INDEX audit_tenant ON audit (tenant, at);
CREATE INDEX audit_job ON audit (job_id, at);

CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only';
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();

CREATE FUNCTION audit_make_partitions(months_ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    month date;
    made  integer := 0;
BEGIN
    FOR i IN 0..months_ahead LOOP
        month := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => i))::date;
        IF to_regclass(format('audit_%s', to_char(month, 'YYYY_MM'))) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF audit FOR VALUES FROM (%L) TO (%L)',
                           'audit_' || to_char(month, 'YYYY_MM'),
                           month::text || ' 00:00:00+00', (month + interval '1 month')::date::text || ' 00:00:00+00');
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$;
SELECT audit_make_partitions(3);
"""

DOWN = """
DROP TABLE audit;
DROP TABLE results;
DROP TABLE jobs;
DROP FUNCTION audit_make_partitions(integer);
DROP FUNCTION audit_refuse_change();
DROP FUNCTION jobs_check_attempt();
DROP FUNCTION jobs_check_transition();
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(UP, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.get_bind().exec_driver_sql(DOWN, execution_options={"no_parameters": True})
