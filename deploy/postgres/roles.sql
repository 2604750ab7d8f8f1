-- Roles with no more rights than they need, for a Postgres of your own. As a superuser, after every `hotset migrate`:
--
--     psql --dbname hotset --file deploy/postgres/roles.sql
--
-- Then give each a password (\password hotset_worker), and each program the address with its role. It may be run as often
-- as you like. Login, TLS and networks are pg_hba.conf's matter: docs/security.md has the lines.
--
-- hotset_owner     owns everything: `hotset migrate`, `hotset retain`, restore
-- hotset_worker    claims, runs and ends jobs, writes results, audit and what was learned; deletes no job, result or audit
-- hotset_client    submits, cancels, retries, reads jobs and results, sends and takes messages, follows the audit; claims
--                  nothing, writes no result
-- hotset_operator  what a client may, and pause, resume and erase
-- hotset_memory    nobody's login: what all four become for a statement on what agents remember, under row-level security
--
-- For agents that remember, after it: CREATE EXTENSION vector; then `hotset memory setup` as hotset_owner, and this again.
--
-- Nobody but the owner may change or remove what the audit says, and its triggers stop the owner, too.
BEGIN;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['hotset_owner', 'hotset_worker', 'hotset_client', 'hotset_operator'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', name);
        END IF;
    END LOOP;
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'hotset_memory') THEN
        CREATE ROLE hotset_memory NOLOGIN NOSUPERUSER NOBYPASSRLS NOINHERIT;
    END IF;
    GRANT hotset_memory TO hotset_owner, hotset_worker, hotset_client, hotset_operator;
END $$;

-- ---- everything of hotset is the owner's, and nobody else's before the grants below ------------------------------

DO $$
DECLARE
    thing record;
BEGIN
    EXECUTE format('GRANT CREATE, USAGE ON SCHEMA %I TO hotset_owner', current_schema());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO hotset_worker, hotset_client, hotset_operator, hotset_memory',
                   current_schema());
    FOR thing IN
        SELECT oid::regclass AS name FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
          AND relname ~ '^(alembic_version|jobs|results|flows|dependencies|pauses|costs|swaps|slot_seconds|forecast_errors|messages|message_keys|subscriptions|audit(_.*)?|memories|memory_.*)$'
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO hotset_owner', thing.name);
        EXECUTE format('REVOKE ALL ON TABLE %s FROM PUBLIC, hotset_worker, hotset_client, hotset_operator', thing.name);
    END LOOP;
    FOR thing IN
        SELECT oid::regprocedure AS name FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND proname ~ '^(jobs|audit|messages|memory)_'
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO hotset_owner', thing.name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC, hotset_worker, hotset_client, hotset_operator', thing.name);
    END LOOP;
    -- Workers make the months of the audit ahead, with the owner's hands: only an owner can.
    EXECUTE format('ALTER FUNCTION audit_make_partitions(integer) SECURITY DEFINER SET search_path = %I, pg_temp',
                   current_schema());
END $$;

-- ---- what all three may ------------------------------------------------------------------------------------------

GRANT SELECT ON alembic_version, jobs, results, flows, dependencies, pauses, costs, swaps, slot_seconds, forecast_errors,
    audit, audit_seals TO hotset_worker, hotset_client, hotset_operator;
-- The end of a job may send its answer, whoever ends it.
GRANT SELECT, INSERT, UPDATE, DELETE ON messages, message_keys TO hotset_worker, hotset_client, hotset_operator;
GRANT SELECT ON subscriptions TO hotset_worker, hotset_client, hotset_operator;
GRANT INSERT ON jobs, audit TO hotset_worker, hotset_client, hotset_operator;
-- What the end of a job sets off (its dependents are released or fail), and the number of a row's transaction.
GRANT EXECUTE ON FUNCTION jobs_free_dependents(jobs), jobs_fail_dependents(jobs), audit_tx_offset(), audit_horizon()
    TO hotset_worker, hotset_client, hotset_operator;

-- ---- the worker: never what was asked, by whom -------------------------------------------------------------------

GRANT UPDATE (state, attempt, failures, crashes, worker, lease_until, cancel_reason, not_before, deadline_at,
              queue_timeout_at, started_at, finished_at, error_kind, error, published_at, pending, released_at, untold,
              suspect, shared) ON jobs TO hotset_worker;
GRANT INSERT ON results, audit_seals TO hotset_worker;
GRANT INSERT, UPDATE ON costs TO hotset_worker;
GRANT INSERT, UPDATE, DELETE ON swaps, slot_seconds, forecast_errors TO hotset_worker;
GRANT EXECUTE ON FUNCTION audit_make_partitions(integer) TO hotset_worker;

-- ---- the client: submit and cancel -------------------------------------------------------------------------------

GRANT EXECUTE ON FUNCTION messages_claim(text, text, text, integer, double precision, text), messages_bury(uuid, text)
    TO hotset_client, hotset_operator;
GRANT USAGE ON SEQUENCE messages_seq_seq TO hotset_client, hotset_operator;
GRANT INSERT, DELETE ON subscriptions TO hotset_client, hotset_operator;
GRANT INSERT ON flows, dependencies TO hotset_client, hotset_operator;
-- To lock a flow while a part of it is tried again.
GRANT UPDATE (created_at) ON flows TO hotset_client, hotset_operator;
GRANT UPDATE (state, cancel_reason, finished_at, error_kind, error, published_at, pending, released_at, deadline_at,
              queue_timeout_at, untold) ON jobs TO hotset_client, hotset_operator;

-- ---- the operator: pause and erase -------------------------------------------------------------------------------

GRANT INSERT, DELETE ON pauses TO hotset_operator;
GRANT UPDATE (prompt, metadata, options, spec, body_hash) ON jobs TO hotset_operator;
GRANT UPDATE (text, thinking) ON results TO hotset_operator;
GRANT EXECUTE ON FUNCTION audit_old_partitions(integer) TO hotset_operator;

-- ---- what agents remember: through hotset_memory alone, whose rights `hotset memory setup` gives ------------------

DO $$
BEGIN
    IF to_regclass('memories') IS NOT NULL THEN
        GRANT SELECT ON memory_version TO hotset_worker, hotset_client, hotset_operator;
        -- The worker's upkeep goes from tenant to tenant.
        GRANT SELECT, UPDATE (drilled_at) ON memory_tenants TO hotset_worker;
    END IF;
END $$;

COMMIT;
