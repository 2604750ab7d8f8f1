"""What the lanes and the board say, as a forecast of starts sees it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import cast
from uuid import UUID

from hotset.broker.board import GpuState
from hotset.broker.lanes import Lanes, LanesState, LaneState, reachable
from hotset.fleet import Fleet
from hotset.learning import Line, Server


def lines(fleet: Fleet, state: LanesState, run_s: Mapping[str, float], scale: float) -> list[Line]:
    """A line for each queue of the fleet, in model seconds; messages that no worker has read yet are waiting jobs."""
    of_queue: dict[str, list[LaneState]] = {queue: [] for queue in fleet.queues}
    for lane in state.lanes:
        if lane.queue in of_queue:
            of_queue[lane.queue].append(lane)
    return [
        Line(
            queue=name,
            model=fleet.queues[name].model,
            jobs=sum(lane.waiting for lane in lanes) + state.inbox.get(name, 0),
            run_s=run_s[name],
            oldest_s=max((state.now - lane.oldest_arrival for lane in lanes), default=0.0) / scale,
            deadline_s=min(
                ((lane.next_deadline - state.now) / scale for lane in lanes if lane.next_deadline is not None),
                default=None,
            ),
        )
        for name, lanes in of_queue.items()
    ]


def servers(states: Iterable[GpuState], paused: Iterable[str]) -> list[Server]:
    """The GPUs that take work."""
    out = set(paused)
    return [
        Server(
            name=s.name,
            vram_mb=s.vram_mb,
            slots=s.slots,
            speed=s.speed,
            busy=s.busy,
            sizes={model: mb for model, (mb, _) in s.residents.items()},
            running={model: running for model, (_, running) in s.residents.items() if running > 0},
            loading=s.loading,
            victims=s.victims,
        )
        for s in states
        if s.name not in out
    ]


def any_waiting(lanes: Lanes, state: LanesState, queue: str, most: int = 3) -> list[tuple[LaneState, UUID]]:
    """Waiting jobs of a queue, taken at random, each with its lane; messages without a UUID are left out."""
    found = [lane for lane in state.lanes if lane.queue == queue]
    if not found:
        return []
    lane = random.choices(found, [lane.waiting for lane in found])[0]
    with reachable(lanes.redis):
        said = cast(list[str], lanes.redis.zrandmember(f"hs:arrival:{lane.queue}:{lane.name}", most))
    picked = []
    for name in said:
        try:
            picked.append((lane, UUID(name)))
        except ValueError:
            continue
    return picked
