"""When a waiting job will start: the same forecast that the workers check against what came true."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hotset.broker import Board, Lanes, look
from hotset.broker.lanes import reachable
from hotset.broker.outlook import lines, servers
from hotset.fleet import Fleet, Model
from hotset.jobs import JobView, State
from hotset.learning import EMPTY, KINDS, Forecast, Key, estimate, forecast
from hotset.store import costs, pauses

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from hotset.settings import Settings


@dataclass(frozen=True, slots=True)
class Eta:
    """`start_in_s`: model seconds from now; `at`: the time of day (UTC). Both are None when nothing can be said, and
    `basis` says why; else it says what the forecast rests on. `position`: jobs picked before it in its queue (None
    before it is queued)."""

    start_in_s: float | None
    at: datetime | None
    position: int | None
    basis: str


def eta(view: JobView, lanes: Lanes, engine: Engine, fleet: Fleet, settings: Settings) -> Eta | None:
    """Of that job; None when it does not wait any more. Raises BrokerUnavailable, StoreUnavailable."""
    if not view.state.waiting:
        return None
    if view.state is State.BLOCKED:
        return Eta(None, None, None, "it waits for other jobs of its flow")
    if view.queue not in fleet.queues:
        return Eta(None, None, None, f"this fleet has no queue {view.queue!r}")
    paused = pauses.names(pauses.read(engine))
    if view.queue in paused.queues:
        return Eta(None, None, None, f"queue {view.queue} is paused")
    state = look(lanes, [queue for queue in fleet.queues if queue not in paused.queues])
    position = None
    if view.state is State.QUEUED:
        position = lanes.position(view.queue, view.priority, view.id, suspect=view.crashes > 0)
    models, run_s = learned(engine, fleet)
    waiting = lines(fleet, state, run_s, settings.scale)
    # Not in a lane (yet): behind all that wait now.
    ahead = position if position is not None else sum(line.jobs for line in waiting if line.queue == view.queue)
    with reachable(lanes.redis):
        gpus = servers(Board(lanes.redis).read().values(), paused.gpus)
    said = forecast(view.queue, ahead, waiting, gpus, models, max_wait_s=fleet.max_wait_s)
    return _told(view, said, position, settings.scale)


def _told(view: JobView, said: Forecast, position: int | None, scale: float) -> Eta:
    start, basis = said.start_in_s, said.basis
    if start is None:
        return Eta(None, None, position, basis)
    now = datetime.now(UTC)
    if view.not_before is not None and view.state is State.SCHEDULED:
        not_before_s = (view.not_before - now).total_seconds() / scale
        if not_before_s > start:
            start, basis = not_before_s, "it is not due before"
    return Eta(start, now + timedelta(seconds=start * scale), position, basis)


def learned(engine: Engine, fleet: Fleet) -> tuple[dict[str, Model], dict[str, float]]:
    """The fleet's models with what was learned of them, and the expected runs of its queues, over all GPUs."""
    known = costs.by_key(costs.read(engine, agents=False).costs)

    def reckon(key: Key, stated: float) -> float:
        return estimate(known.get(key, EMPTY), stated, KINDS[key.kind].worth)

    models = {
        name: replace(
            model,
            load_s=reckon(Key("load", name), model.load_s),
            size_mb=known.get(Key("size", name), EMPTY).last or model.size_mb,
        )
        for name, model in fleet.models.items()
    }
    return models, {name: reckon(Key("run", name), queue.run_s) for name, queue in fleet.queues.items()}
