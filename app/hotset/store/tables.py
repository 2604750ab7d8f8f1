"""The tables as SQLAlchemy Core, for queries that are put together (lists, filters). The schema is in `migrations/`."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, Integer, MetaData, SmallInteger, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant", Text),
    Column("agent", Text),
    Column("queue", Text),
    Column("priority", SmallInteger),
    Column("state", Text),
    Column("prompt", Text),
    Column("metadata", JSONB),
    Column("idempotency_key", Text),
    Column("replay_of", Uuid),
    Column("arrived_at", DateTime(timezone=True)),
    Column("not_before", DateTime(timezone=True)),
    Column("deadline_at", DateTime(timezone=True)),
    Column("attempt", Integer),
    Column("failures", Integer),
    Column("crashes", Integer),
    Column("suspect", Boolean),
    Column("worker", Text),
    Column("reply_to", Text),
    Column("cancel_reason", Text),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("error_kind", Text),
    Column("error", Text),
    Column("flow", Uuid),
    Column("step", Integer),
    Column("released_at", DateTime(timezone=True)),
    Column("untold", Boolean),
)

results = Table(
    "results",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("attempt", Integer),
    Column("text", Text),
    Column("thinking", Text),
    Column("model", Text),
    Column("simulated", Boolean),
    Column("usage", JSONB),
    Column("timings", JSONB),
    Column("created_at", DateTime(timezone=True)),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer),
    Column("at", DateTime(timezone=True)),
    Column("tenant", Text),
    Column("actor", Text),
    Column("action", Text),
    Column("job_id", Uuid),
    Column("attempt", Integer),
    Column("detail", JSONB),
)

__all__ = ["audit", "jobs", "metadata", "results"]
