"""What waits, as the policy sees it: the broker's lanes, in model seconds, of the queues that may be served now."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hotset.broker import SUSPECT, LanesState
from hotset.fleet import Fleet, Queue
from hotset.scheduling import Lane, QueueView


def waiting_queues(
    state: LanesState, fleet: Fleet, run_s: Mapping[str, float], *, scale: float, open_now: Callable[[Queue], bool]
) -> tuple[QueueView, ...]:
    """Queues with jobs, in the fleet's order, each with its lanes by name. `run_s`: the expected run of each queue."""
    lanes: dict[str, list[Lane]] = {name: [] for name in fleet.queues}
    for lane in state.lanes:
        if lane.queue in lanes:
            lanes[lane.queue].append(
                Lane(
                    name=lane.name,
                    priority=lane.priority,
                    waiting=lane.waiting,
                    oldest_arrival=lane.oldest_arrival / scale,
                    savable=lane.savable,
                    next_deadline=None if lane.next_deadline is None else lane.next_deadline / scale,
                    alone=lane.name == SUSPECT,
                )
            )
    return tuple(
        QueueView(
            queue.name, queue.model, run_s[queue.name], tuple(sorted(lanes[queue.name], key=lambda lane: lane.name))
        )
        for queue in fleet.queues.values()
        if lanes[queue.name] and open_now(queue)
    )


def longest_runs(fleet: Fleet, run_s: Mapping[str, float]) -> dict[str, float]:
    """By model: the expected run of that one of its queues whose jobs run the longest."""
    longest: dict[str, float] = {}
    for queue in fleet.queues.values():
        longest[queue.model] = max(longest.get(queue.model, 0.0), run_s[queue.name])
    return longest
