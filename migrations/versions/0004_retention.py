"""Retention: what finished long ago is found by an index, and months of the audit go by a function.

Rows that came while no month was made for them lie in `audit_default`; they are sorted into months before the next are
made or the oldest dropped, or a month that has rows there could never be made.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UP = """
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_flow_finished ON jobs (flow, finished_at) WHERE flow IS NOT NULL;
CREATE INDEX jobs_replays ON jobs (replay_of) WHERE replay_of IS NOT NULL;

CREATE FUNCTION audit_make_partition(month date) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    IF to_regclass(format('audit_%s', to_char(month, 'YYYY_MM'))) IS NOT NULL THEN
        RETURN 0;
    END IF;
    EXECUTE format('CREATE TABLE %I PARTITION OF audit FOR VALUES FROM (%L) TO (%L)',
                   'audit_' || to_char(month, 'YYYY_MM'),
                   month::text || ' 00:00:00+00', (month + interval '1 month')::date::text || ' 00:00:00+00');
    RETURN 1;
END $$;

-- Rows without a month of their own get one; the answer is how many. Nobody writes audit meanwhile.
CREATE FUNCTION audit_sort_default() RETURNS bigint LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
    month date;
    moved bigint;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM ONLY audit_default) THEN
        RETURN 0;
    END IF;
    LOCK TABLE audit IN ACCESS EXCLUSIVE MODE;
    ALTER TABLE audit DETACH PARTITION audit_default;
    ALTER TABLE audit_default RENAME TO audit_unsorted;
    EXECUTE 'CREATE TABLE audit_default PARTITION OF audit DEFAULT';
    FOR month IN EXECUTE 'SELECT DISTINCT date_trunc(''month'', at AT TIME ZONE ''UTC'')::date FROM audit_unsorted' LOOP
        PERFORM audit_make_partition(month);
    END LOOP;
    EXECUTE 'INSERT INTO audit OVERRIDING SYSTEM VALUE SELECT * FROM audit_unsorted';
    GET DIAGNOSTICS moved = ROW_COUNT;
    DROP TABLE audit_unsorted;
    RETURN moved;
END $$;

CREATE OR REPLACE FUNCTION audit_make_partitions(months_ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    made integer := 0;
BEGIN
    -- Workers do this at the same time: the second finds the months made.
    PERFORM pg_advisory_xact_lock(hashtext('hotset.audit'));
    PERFORM audit_sort_default();
    FOR i IN 0..months_ahead LOOP
        made := made + audit_make_partition(
            (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => i))::date);
    END LOOP;
    RETURN made;
END $$;

-- The months that ended more than keep_months whole months ago; the running month is not counted.
CREATE FUNCTION audit_old_partitions(keep_months integer) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT relname::text
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'audit'::regclass AND relname ~ '^audit_[0-9]{4}_[0-9]{2}$'
      AND to_date(right(relname, 7), 'YYYY_MM')
          < (date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => keep_months))::date
    ORDER BY relname
$$;

-- The audit refuses DELETE and TRUNCATE: whole months are all that goes, and each leaves a row that says so.
CREATE FUNCTION audit_drop_partitions(keep_months integer, actor text)
RETURNS TABLE (month text, entries bigint) LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('hotset.audit'));
    PERFORM audit_sort_default();
    FOR month IN SELECT audit_old_partitions(keep_months) LOOP
        EXECUTE format('SELECT count(*) FROM %I', month) INTO entries;
        EXECUTE format('DROP TABLE %I', month);
        INSERT INTO audit (tenant, actor, action, detail)
        VALUES ('default', audit_drop_partitions.actor, 'audit-dropped',
                jsonb_build_object('partition', month, 'entries', entries, 'keep_months', keep_months));
        RETURN NEXT;
    END LOOP;
END $$;
"""

DOWN = """
DROP FUNCTION audit_drop_partitions(integer, text);
DROP FUNCTION audit_old_partitions(integer);
CREATE OR REPLACE FUNCTION audit_make_partitions(months_ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
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
DROP FUNCTION audit_sort_default();
DROP FUNCTION audit_make_partition(date);
DROP INDEX jobs_replays;
DROP INDEX jobs_flow_finished;
DROP INDEX jobs_finished;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(UP, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.get_bind().exec_driver_sql(DOWN, execution_options={"no_parameters": True})
