"""How good are the forecasts? A few waiting jobs are watched: their start is forecast as a client would be told, and
compared with the start that Postgres has once they run. No submit and no claim does anything for it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine

from hotset.broker import Board, Lanes, LaneState, look
from hotset.broker.lanes import SUSPECT
from hotset.broker.outlook import any_waiting, lines, servers
from hotset.fleet import Fleet, Model
from hotset.jobs import Priority, State
from hotset.learning import forecast
from hotset.store import ledger
from hotset.store.ledger import Miss
from hotset.store.pauses import Paused
from hotset_worker.learning import Learned

#: Wall seconds between looks.
LOOK_S = 1.0
#: Jobs that one worker watches at a time.
_WATCHED = 64
#: The part of its time that a worker spends on this: of a large fleet fewer jobs are watched.
_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Said:
    """Epoch seconds, of the broker's clock; the database's must agree with it (`hotset doctor` compares them)."""

    queue: str
    at: float
    start: float


class Foresight:
    """Used by the upkeep's thread."""

    def __init__(
        self, lanes: Lanes, fleet: Fleet, learned: Learned, paused: Callable[[], Paused | None], *, scale: float
    ) -> None:
        self._lanes = lanes
        self._board = Board(lanes.redis)
        self._fleet = fleet
        self._learned = learned
        self._paused = paused
        self._scale = scale
        self._watched: dict[UUID, Said] = {}
        self._not_before = 0.0

    def look(self, engine: Engine) -> None:
        """Compare those that have started, then watch some others."""
        self._settle(engine)
        paused = self._paused()
        began = time.monotonic()
        if paused is not None and len(self._watched) < _WATCHED and began >= self._not_before:
            self._watch(paused)
            now = time.monotonic()
            self._not_before = now + (now - began) / _SHARE

    def _settle(self, engine: Engine) -> None:
        if not self._watched:
            return
        found = ledger.forecasts_due(engine, list(self._watched))
        misses = []
        for job, said in list(self._watched.items()):
            state, attempt, started = found.get(job, ("", 0, None))
            if state == State.QUEUED and attempt == 0:
                continue
            del self._watched[job]
            if attempt == 1 and started is not None:
                error_s = (started - said.start) / self._scale
                misses.append(Miss(said.queue, error_s, (said.start - said.at) / self._scale))
        ledger.add_misses(engine, misses)

    def _watch(self, paused: Paused) -> None:
        state = look(self._lanes, [q for q in self._fleet.queues if q not in paused.queues])
        if not state.lanes:
            return
        # One queue at a time.
        queue = random.choice(sorted({lane.queue for lane in state.lanes}))
        run_s = {queue: self._learned.run_s(queue) for queue in self._fleet.queues}
        waiting = lines(self._fleet, state, run_s, self._scale)
        gpus = servers(self._board.read().values(), paused.gpus)
        models = {
            name: Model(name, self._learned.size_mb(name), self._learned.load_s(name)) for name in self._fleet.models
        }
        for lane, job in any_waiting(self._lanes, state, queue):
            ahead = None if job in self._watched else self._ahead(lane, job)
            if ahead is None:
                continue
            said = forecast(lane.queue, ahead, waiting, gpus, models, max_wait_s=self._fleet.max_wait_s)
            if said.start_in_s is not None:
                self._watched[job] = Said(lane.queue, state.now, state.now + said.start_in_s * self._scale)

    def _ahead(self, lane: LaneState, job: UUID) -> int | None:
        suspect = lane.name == SUSPECT
        priority = Priority.NORMAL if suspect else Priority[lane.name.upper()]
        return self._lanes.position(lane.queue, priority, job, suspect=suspect)
