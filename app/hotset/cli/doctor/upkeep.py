"""Does the work move: what upkeep should have done long ago, and jobs that nobody can run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import redis
from sqlalchemy import Connection

from hotset.broker import GpuState
from hotset.cli.doctor.finding import Finding, failed, ok, skipped, warning
from hotset.cli.doctor.world import World, connect
from hotset.errors import HotsetError
from hotset.store import make_engine, pauses
from hotset.store.engine import connected
from hotset.store.migrate import pending

#: Wall seconds after which what upkeep does each second is overdue.
_LATE_S = 10
_OVERDUE = """
SELECT (SELECT count(*) FROM jobs WHERE state = 'queued' AND published_at IS NULL
            AND greatest(arrived_at, not_before) < now() - make_interval(secs => %(late)s)) AS unpublished,
       (SELECT count(*) FROM jobs WHERE state = 'scheduled'
            AND not_before < now() - make_interval(secs => %(late)s)) AS due,
       (SELECT count(*) FROM jobs WHERE state = 'running'
            AND lease_until < now() - make_interval(secs => %(late)s)) AS leases
"""
_PARTITIONS = """
SELECT to_regclass('audit_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')) IS NOT NULL AS this_month,
       to_regclass('audit_' || to_char((now() AT TIME ZONE 'UTC') + interval '1 month', 'YYYY_MM')) IS NOT NULL AS next
"""
_WAITING = "SELECT queue, count(*) AS jobs FROM jobs WHERE state = 'queued' GROUP BY queue ORDER BY queue"


def check_upkeep(world: World) -> Iterator[Finding]:
    engine = make_engine(world.settings.database_url.get_secret_value(), application="hotset-doctor", pool_size=1)
    try:
        with connected(engine) as connection:
            connection.exec_driver_sql(f"SET statement_timeout = {int(world.answer_s * 1000)}")
            state = pending(connection)
            if state.missing or state.unknown:
                yield skipped("upkeep", "the database's tables are not those of this hotset")
                return
            workers = world.workers()
            yield from _overdue(connection, bool(workers))
            yield _partitions(connection)
            yield from _waiting(connection, world, workers)
        if stopped := pauses.read(engine):
            shown = ", ".join(f"{p.kind} {p.name} by {p.by}" for p in stopped)
            yield warning(
                "upkeep.pauses", f"paused: {shown}", "`hotset queues resume` or `hotset gpus resume` goes on."
            )
    except HotsetError:
        yield skipped("upkeep", "the database does not answer")
    finally:
        engine.dispose()
    yield from _quarantine(world)


def _overdue(connection: Connection, alive: bool) -> Iterator[Finding]:
    row = connection.exec_driver_sql(_OVERDUE, {"late": _LATE_S}).one()
    remedy = "Look into the workers' logs: their upkeep fails." if alive else "Start a worker: its upkeep does it."
    found = {
        "upkeep.publishing": (row.unpublished, "accepted jobs were not given to the broker"),
        "upkeep.schedule": (row.due, "scheduled jobs are due and not queued"),
        "upkeep.leases": (row.leases, "running jobs lost their lease and were not taken back"),
    }
    for name, (count, what) in found.items():
        if count:
            yield failed(name, f"{count:,} {what} for more than {_LATE_S} s", remedy)
    if not any(count for count, _ in found.values()):
        yield ok("upkeep.overdue", "nothing: all accepted jobs are published, no lease is overdue")


def _partitions(connection: Connection) -> Finding:
    name = "upkeep.partitions"
    row = connection.exec_driver_sql(_PARTITIONS).one()
    if row.this_month and row.next:
        return ok(name, "the audit's months are made ahead")
    lacking = "next month" if row.this_month else "this month"
    return warning(name, f"the audit has no partition for {lacking}", "Start a worker: it makes them within an hour.")


def _waiting(connection: Connection, world: World, workers: Mapping[str, GpuState]) -> Iterator[Finding]:
    waiting = {row.queue: row.jobs for row in connection.exec_driver_sql(_WAITING)}
    stuck = False
    for queue, count in waiting.items():
        reason = _nobody(world, queue, workers)
        if reason is not None:
            stuck = True
            yield failed("upkeep.waiting", f"{count:,} jobs wait in {queue}: {reason[0]}", reason[1])
    if not stuck:
        yield ok("upkeep.waiting", f"{sum(waiting.values()):,} jobs wait, each in a queue that some worker serves")


def _nobody(world: World, queue: str, workers: Mapping[str, GpuState]) -> tuple[str, str] | None:
    """Why no worker will ever take that queue's jobs, and the remedy."""
    known = world.fleet.queues.get(queue)
    if known is None:
        return "the fleet has no such queue", f"Add the queue {queue} to the fleet file, or cancel its jobs."
    size = world.fleet.models[known.model].size_mb
    serving = [gpu.name for gpu in world.fleet.gpus if gpu.vram_mb >= size]
    if not set(serving) & set(workers):
        return f"no worker runs on a GPU that holds {known.model}", f"Start one: hotset worker --gpu {serving[0]}"
    return None


def _quarantine(world: World) -> Iterator[Finding]:
    name = "upkeep.quarantine"
    with connect(world.settings.broker_url.get_secret_value(), "broker_url", world.answer_s) as client:
        try:
            count = int(cast(Any, client.llen("hs:quarantine")))
        except redis.RedisError:
            return  # said by the checks of the broker
    if count:
        yield warning(
            name,
            f"{count:,} messages could not be read and were put aside",
            "Look at them with `LRANGE hs:quarantine 0 9`, mend the producer, then DEL hs:quarantine.",
        )
    else:
        yield ok(name, "empty")
