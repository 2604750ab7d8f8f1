"""The lanes as an onlooker sees them: nothing is swept, nothing changes. Workers use `Lanes.snapshot`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotset.broker.lanes import Lanes, LanesState, LaneState, reachable


def look(lanes: Lanes, queues: Iterable[str]) -> LanesState:
    """Every lane with jobs, and the inboxes' lengths, in two round trips. Raises BrokerUnavailable.

    Not one moment: a job that moves in between may be counted in two lanes or in none.
    """
    names = list(queues)
    with reachable(lanes.redis):
        seconds, micros = lanes.redis.time()
        now = seconds + micros / 1e6
        pipe = lanes.redis.pipeline(transaction=False)
        for queue in names:
            pipe.smembers(f"hs:lanes:{queue}")
            pipe.llen(queue)
        found = pipe.execute()
        known = [(queue, lane) for i, queue in enumerate(names) for lane in sorted(found[2 * i])]
        inbox = {queue: int(found[2 * i + 1]) for i, queue in enumerate(names)}
        pipe = lanes.redis.pipeline(transaction=False)
        for queue, lane in known:
            arrival, deadline = f"hs:arrival:{queue}:{lane}", f"hs:deadline:{queue}:{lane}"
            pipe.zcard(arrival)
            pipe.zrange(arrival, 0, 0, withscores=True)
            pipe.zcount(deadline, now * 1000, "+inf")
            pipe.zrangebyscore(deadline, now * 1000, "+inf", start=0, num=1, withscores=True)
        answers: list[Any] = pipe.execute()
    states = []
    for i, (queue, lane) in enumerate(known):
        waiting, oldest, savable, due = answers[4 * i : 4 * i + 4]
        if waiting and oldest:
            states.append(
                LaneState(queue, lane, waiting, oldest[0][1] / 1000, savable, due[0][1] / 1000 if due else None)
            )
    return LanesState(now, tuple(states), inbox)
