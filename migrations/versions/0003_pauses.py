"""Pauses of queues and GPUs."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UP = """
-- A queue without grants, a GPU without grants and loads, until the row is gone. Survives every restart.
CREATE TABLE pauses (
    kind   text NOT NULL CHECK (kind IN ('queue', 'gpu')),
    name   text NOT NULL CHECK (name <> '' AND length(name) <= 200),
    since  timestamptz NOT NULL DEFAULT now(),
    by     text NOT NULL,
    reason text NOT NULL DEFAULT '' CHECK (length(reason) <= 1000),
    PRIMARY KEY (kind, name)
);
"""

DOWN = """
DROP TABLE pauses;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(UP, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.get_bind().exec_driver_sql(DOWN, execution_options={"no_parameters": True})
