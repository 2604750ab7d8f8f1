"""What `hotset top` sees: a few cheap reads, and the swaps that it noticed between them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

import redis

from hotset.broker import Board, GpuState, Lanes, look
from hotset.cli.fleet import the_fleet
from hotset.errors import BrokerUnavailable, Unavailable
from hotset.settings import Settings
from hotset.store import make_engine, overview, pauses
from hotset.store.overview import Pulse, RunningJob
from hotset.store.pauses import Pause

#: Wall seconds between looks at the broker, and at Postgres.
LOOK_S = 0.5
_ASK_S = 1.0
_SWAPS_KEPT = 100


@dataclass(frozen=True, slots=True)
class Swap:
    """A load that ended. `at` is None for the last one before the first look."""

    at: datetime | None
    gpu: str
    model: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class QueueLine:
    """`oldest_s`: model seconds. `inbox`: messages of plain producers that no worker has read yet."""

    name: str
    model: str
    waiting: int
    savable: int
    oldest_s: float | None
    inbox: int


@dataclass(frozen=True, slots=True)
class Moment:
    """`silent`: GPUs of the fleet without a worker. `trouble`: what did not answer; the figures are older then."""

    at: datetime
    scale: float
    gpus: Mapping[str, GpuState]
    silent: tuple[str, ...]
    queues: tuple[QueueLine, ...]
    paused: tuple[Pause, ...]
    running: tuple[RunningJob, ...]
    pulse: Pulse
    swaps: tuple[Swap, ...]
    trouble: str = ""

    @property
    def simulated(self) -> bool:
        return any(gpu.simulated for gpu in self.gpus.values())

    def as_object(self) -> dict[str, Any]:
        """As `--json` prints it."""
        minutes = self.pulse.within_s / 60.0
        done = sum(n for how, n in self.pulse.ended.items() if how not in ("retry", "crash", "shared-crash"))
        return {
            "at": self.at,
            "simulated": self.simulated,
            "gpus": {name: asdict(gpu) for name, gpu in self.gpus.items()},
            "silent_gpus": list(self.silent),
            "queues": [asdict(queue) for queue in self.queues],
            "paused": [asdict(pause) for pause in self.paused],
            "running": [{**asdict(job), "id": str(job.id)} for job in self.running],
            "rates": {
                "jobs_per_min": done / minutes,
                "tokens_per_s": self.pulse.tokens / self.pulse.within_s,
                "ended": dict(self.pulse.ended),
            },
            "swaps": [asdict(swap) for swap in self.swaps],
        }


class Eye:
    """Looks at most twice a second at the broker (three round trips), once a second at Postgres (three queries)."""

    def __init__(self, settings: Settings) -> None:
        self._fleet = the_fleet(settings)
        self._scale = settings.scale
        self._lanes = Lanes(settings.broker_url.get_secret_value())
        self._board = Board(self._lanes.redis)
        url = settings.database_url.get_secret_value()
        self._engine = make_engine(url, application="hotset-top", pool_size=1)
        self._asked = float("-inf")
        self._last: Moment | None = None
        self._swaps: deque[Swap] = deque(maxlen=_SWAPS_KEPT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lanes.close()
        self._engine.dispose()

    def look(self) -> Moment:
        """The fleet now. When a server is away, the last moment with a word of trouble; at the first look it raises."""
        try:
            self._last = self._look()
        except Unavailable as e:
            if self._last is None:
                raise
            self._last = replace(self._last, trouble=str(e))
        return self._last

    def _look(self) -> Moment:
        last = self._last
        try:
            gpus = self._board.read()
        except (redis.ConnectionError, redis.TimeoutError) as e:
            raise BrokerUnavailable(f"Redis (the broker) does not answer: {e}.") from e
        now = datetime.now(UTC)
        self._notice(gpus, last.gpus if last else None, now)
        if last is None or time.monotonic() - self._asked >= _ASK_S:
            running = tuple(overview.running(self._engine))
            pulse, paused = overview.pulse(self._engine), tuple(pauses.read(self._engine))
            self._asked = time.monotonic()
        else:
            running, pulse, paused = last.running, last.pulse, last.paused
        return Moment(
            at=now,
            scale=self._scale,
            gpus=gpus,
            silent=tuple(gpu.name for gpu in self._fleet.gpus if gpu.name not in gpus),
            queues=self._queues(),
            paused=paused,
            running=running,
            pulse=pulse,
            swaps=tuple(self._swaps),
        )

    def _queues(self) -> tuple[QueueLine, ...]:
        state = look(self._lanes, self._fleet.queues)
        lines = []
        for name, queue in self._fleet.queues.items():
            mine = [lane for lane in state.lanes if lane.queue == name]
            oldest = min((lane.oldest_arrival for lane in mine), default=None)
            lines.append(
                QueueLine(
                    name=name,
                    model=queue.model,
                    waiting=sum(lane.waiting for lane in mine),
                    savable=sum(lane.savable for lane in mine),
                    oldest_s=None if oldest is None else max(0.0, state.now - oldest) / self._scale,
                    inbox=state.inbox[name],
                )
            )
        return tuple(lines)

    def _notice(self, gpus: Mapping[str, GpuState], before: Mapping[str, GpuState] | None, now: datetime) -> None:
        """Swaps since the last look."""
        for name, gpu in gpus.items():
            was = before.get(name) if before is not None else None
            if before is None or was is None or was.worker != gpu.worker:
                if gpu.swaps and gpu.reason and not gpu.loading:
                    self._swaps.append(Swap(None, name, None, gpu.reason))
            elif gpu.swaps > was.swaps:
                self._swaps.append(Swap(now, name, *_what(was, gpu)))


def _what(was: GpuState, gpu: GpuState) -> tuple[str | None, str]:
    """The model that a swap between two looks loaded, and why. The board tells the reason of the newest decision: it is
    this swap's only if no other load was decided since."""
    made = gpu.swaps - was.swaps
    if made == 1 and was.loading:
        return was.loading, was.reason
    new = [model for model in gpu.residents if model not in was.residents]
    model = new[0] if len(new) == 1 else None
    if made == 1:
        return model, "decided and done between two looks" if gpu.loading else gpu.reason
    return model if not gpu.loading else None, f"{made} swaps between two looks"
