"""Which GPUs have a live worker, one each, of this version, with this fleet and this scale."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import redis

from hotset import __version__
from hotset.broker import Board, GpuState
from hotset.cli.doctor.finding import Finding, failed, ok, skipped, warning
from hotset.cli.doctor.world import World, connect
from hotset.errors import HotsetError
from hotset.fleet import Gpu
from hotset.models.probe import Probe, Server
from hotset.store import make_engine
from hotset.store.engine import connected

#: A worker's connections carry this name, so that two workers of one GPU are seen, which the board's one key hides.
_SEEN = (
    "SELECT DISTINCT application_name FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name LIKE 'hotset-worker %%'"
)
_NAMED = re.compile(r"hotset-worker (?P<worker>(?P<gpu>.+?)@.+:\d+(-[0-9a-f]+)?)")


def check_workers(world: World) -> Iterator[Finding]:
    with connect(world.settings.broker_url.get_secret_value(), "broker_url", world.answer_s) as client:
        try:
            board = Board(client).read()
        except redis.RedisError:
            yield skipped("workers", "the broker does not answer")
            return
    for gpu in world.fleet.gpus:
        state = board.get(gpu.name)
        if state is None:
            yield warning(
                f"{gpu.name}.worker", "no live worker: its jobs wait", f"Start one: hotset worker --gpu {gpu.name}"
            )
            continue
        faults = list(worker_faults(gpu, state, _server(world, gpu), world.settings.scale))
        yield from faults
        if not faults:
            yield ok(f"{gpu.name}.worker", f"{state.worker}, hotset {state.version or 'of an older version'}")
    if strangers := sorted(set(board) - {gpu.name for gpu in world.fleet.gpus}):
        yield warning(
            "workers.unknown",
            f"workers of {', '.join(strangers)}, which this fleet file does not have",
            "Give all workers and clients of one broker the same fleet file.",
        )
    yield from _twice(world)


def worker_faults(gpu: Gpu, state: GpuState, server: Server | None, scale: float) -> Iterator[Finding]:
    """Where a worker differs from its fleet file, its model server and us. `server` None: it does not answer."""
    name = f"{gpu.name}.worker"
    if (state.slots, state.vram_mb) != (gpu.slots, gpu.vram_mb):
        yield warning(
            name,
            f"it runs with {state.slots} slots and {state.vram_mb:,.0f} MiB, the fleet file says {gpu.slots} and "
            f"{gpu.vram_mb:,.0f}",
            "Restart the worker: it was started with another fleet file.",
        )
    for model, why in state.unhealthy.items():
        yield failed(
            name,
            f"{model} is loaded and generates nothing, so it gets no jobs: {why}",
            "Restart the model server; with HOTSET_MODEL_SERVER_RESTART the worker does it by itself.",
        )
    if state.version and state.version != __version__:
        yield warning(name, f"it is hotset {state.version}, this is {__version__}", "Bring both to one version.")
    if state.scale is not None and state.scale != scale:
        yield failed(
            name,
            f"its scale is {state.scale:g}, ours {scale:g}: waits and deadlines are counted wrongly",
            "Give workers, clients and the simulated model server one HOTSET_SCALE.",
        )
    if server is None:
        return
    if state.simulated != server.simulated:
        marks = "simulated" if state.simulated else "real"
        yield failed(
            name,
            f"it marks its results as {marks}, but its model server is {'simulated' if server.simulated else 'real'}",
            "Restart the worker: the model server was another, or away, when it started.",
        )
    if server.scale is not None and state.scale is not None and server.scale != state.scale:
        yield failed(
            name,
            f"its scale is {state.scale:g}, that of its simulated model server {server.scale:g}",
            "Start `hotset serve` with the --scale of HOTSET_SCALE.",
        )


def _twice(world: World) -> Iterator[Finding]:
    engine = make_engine(world.settings.database_url.get_secret_value(), application="hotset-doctor", pool_size=1)
    try:
        with connected(engine) as connection:
            seen = [row[0] for row in connection.exec_driver_sql(_SEEN, ())]
    except HotsetError:
        return  # said by the checks of the database
    finally:
        engine.dispose()
    for gpu, workers in duplicates(seen).items():
        yield failed(
            f"{gpu}.worker",
            f"{len(workers)} workers serve it, and evict each other's models: {', '.join(workers)}",
            "Stop all but one: a GPU has one owner.",
        )


def duplicates(applications: Iterable[str]) -> dict[str, list[str]]:
    """GPU -> its workers, where there is more than one, from the names of database connections."""
    found: dict[str, list[str]] = {}
    for match in filter(None, (_NAMED.fullmatch(name) for name in sorted(set(applications)))):
        found.setdefault(match["gpu"], []).append(match["worker"])
    return {gpu: workers for gpu, workers in found.items() if len(workers) > 1}


def _server(world: World, gpu: Gpu) -> Server | None:
    try:
        with Probe(world.address(gpu), answer_s=world.answer_s) as probe:
            return probe.server()
    except HotsetError:
        return None
