"""What the fleet learns: costs, the swap ledger, slot seconds, and how far forecasts were off."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UP = """
-- Each GPU's worker writes the rows of its own GPU, and nobody else does: GPUs are added up when they are read.
CREATE TABLE costs (
    kind       text NOT NULL CHECK (kind IN ('load', 'drain', 'run', 'tokens', 'rate', 'size')),
    -- a model or a queue; agent is empty where agents are not told apart
    name       text NOT NULL CHECK (name <> '' AND length(name) <= 200),
    agent      text NOT NULL DEFAULT '' CHECK (length(agent) <= 200),
    gpu        text NOT NULL CHECK (gpu <> '' AND length(gpu) <= 200),
    -- how many figures were ever seen: a row is never replaced by one that knows less
    seen       bigint NOT NULL CHECK (seen >= 0),
    sketch     jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, name, agent, gpu)
);
CREATE INDEX costs_updated ON costs (updated_at);

-- Durations are model seconds. Written behind the owner's back: the last seconds before a crash may be missing.
CREATE TABLE swaps (
    id          uuid PRIMARY KEY,
    gpu         text NOT NULL CHECK (length(gpu) <= 200),
    worker      text NOT NULL,
    decided_at  timestamptz NOT NULL,
    reason      text NOT NULL,
    model       text NOT NULL CHECK (length(model) <= 200),
    victims     text[] NOT NULL DEFAULT '{}',
    drain_s     double precision,
    load_s      double precision,
    ended_at    timestamptz,
    -- null: under way
    ok          boolean,
    error       text CHECK (length(error) <= 2000),
    jobs_served integer NOT NULL DEFAULT 0,
    -- when the model was gone; null: it is still there, or its worker died
    left_at     timestamptz,
    idle_slot_s double precision NOT NULL DEFAULT 0
);
CREATE INDEX swaps_decided ON swaps (decided_at);
CREATE INDEX swaps_open ON swaps (gpu) WHERE left_at IS NULL;

-- What the slots of a GPU did in five minutes, in model seconds; only while there was work.
CREATE TABLE slot_seconds (
    gpu      text NOT NULL CHECK (length(gpu) <= 200),
    since    timestamptz NOT NULL,
    busy     double precision NOT NULL DEFAULT 0,
    loading  double precision NOT NULL DEFAULT 0,
    draining double precision NOT NULL DEFAULT 0,
    idle     double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (gpu, since)
);
CREATE INDEX slot_seconds_since ON slot_seconds (since);

-- Forecasts of starts that came true, by queue and hour: sums in model seconds. error = true start - forecast.
CREATE TABLE forecast_errors (
    queue   text NOT NULL CHECK (length(queue) <= 200),
    since   timestamptz NOT NULL,
    n       bigint NOT NULL,
    error_s double precision NOT NULL,
    abs_s   double precision NOT NULL,
    ahead_s double precision NOT NULL,
    PRIMARY KEY (queue, since)
);
"""

DOWN = """
DROP TABLE forecast_errors;
DROP TABLE slot_seconds;
DROP TABLE swaps;
DROP TABLE costs;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(UP, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.get_bind().exec_driver_sql(DOWN, execution_options={"no_parameters": True})
