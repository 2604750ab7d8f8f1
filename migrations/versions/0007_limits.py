"""Suspects, and an index by which open jobs are counted.

A job whose worker died beside others is a suspect, though no crash is counted against it.

`suspect`: it runs alone from now on. `shared`: of a running attempt, that a neighbour on its worker lost its lease.
Rows of an older hotset say the same by `crashes > 0`, which is asked beside it.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UP = """
ALTER TABLE jobs ADD COLUMN suspect boolean NOT NULL DEFAULT false;
ALTER TABLE jobs ADD COLUMN shared boolean NOT NULL DEFAULT false;
-- Open jobs are counted where their number is limited: the other open states have such an index.
CREATE INDEX jobs_blocked ON jobs (id) WHERE state = 'blocked';
"""

DOWN = """
DROP INDEX jobs_blocked;
ALTER TABLE jobs DROP COLUMN shared;
ALTER TABLE jobs DROP COLUMN suspect;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(UP, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.get_bind().exec_driver_sql(DOWN, execution_options={"no_parameters": True})
