"""The audit sealed in a chain of hashes.

A row's number (`id`) and time (`at`) are taken before its transaction commits, so younger rows may become visible
first. What is final is told by the transaction: when no running transaction is as old as `tx`, all rows of `tx` are
there that ever will be.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UP = """
-- Added to transaction ids, which start anew in another cluster: a restored audit goes on where it was
-- (audit_after_restore). A constant in a function costs an INSERT nothing.
CREATE FUNCTION audit_tx_offset() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 0::bigint';

ALTER TABLE audit ADD COLUMN tx bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint + audit_tx_offset());
CREATE INDEX audit_tx ON audit (tx, id);

-- All rows with tx below this are final.
CREATE FUNCTION audit_horizon() RETURNS bigint LANGUAGE sql STABLE AS
    'SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + audit_tx_offset()';

-- A batch: the rows of one month whose (tx, id) lie in (from, to]. docs/audit.md says what is hashed, and how.
CREATE TABLE audit_seals (
    number    bigint PRIMARY KEY CHECK (number > 0),
    month     date NOT NULL,
    from_tx   bigint NOT NULL,
    from_id   bigint NOT NULL,
    to_tx     bigint NOT NULL,
    to_id     bigint NOT NULL,
    entries   integer NOT NULL CHECK (entries > 0),
    first_at  timestamptz NOT NULL,
    last_at   timestamptz NOT NULL,
    rows_hash bytea NOT NULL CHECK (length(rows_hash) = 32),
    previous  bytea NOT NULL CHECK (length(previous) = 32),
    hash      bytea NOT NULL CHECK (length(hash) = 32),
    sealed_at timestamptz NOT NULL,
    sealed_by text NOT NULL,
    -- the first 8 bytes of each row's hash: they prove nothing, they say which row is broken
    marks     bytea NOT NULL CHECK (length(marks) = 8 * entries)
);
CREATE INDEX audit_seals_months ON audit_seals (month);
CREATE TRIGGER audit_seals_append_only BEFORE UPDATE OR DELETE ON audit_seals
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_seals_no_truncate BEFORE TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();

-- After a restore into another cluster: transaction ids begin above all that the audit knows. Nobody may write audit
-- before this has run. Elsewhere it finds nothing to do: what a snapshot sees is older than its xmax.
CREATE FUNCTION audit_after_restore() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    newest bigint;
    next   bigint;
BEGIN
    SELECT greatest((SELECT max(tx) FROM audit), (SELECT max(to_tx) FROM audit_seals)),
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint + audit_tx_offset()
    INTO newest, next;
    IF newest IS NULL OR newest < next THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION audit_tx_offset() RETURNS bigint LANGUAGE sql IMMUTABLE AS %L',
                   format('SELECT %s::bigint', audit_tx_offset() + newest - next + 1));
    RETURN true;
END $$;
"""

DOWN = """
DROP FUNCTION audit_after_restore();
DROP TABLE audit_seals;
DROP FUNCTION audit_horizon();
ALTER TABLE audit DROP COLUMN tx;
DROP FUNCTION audit_tx_offset();
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(UP, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.get_bind().exec_driver_sql(DOWN, execution_options={"no_parameters": True})
