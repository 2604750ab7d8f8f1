"""Do the clocks agree? Deadlines are written by Postgres's clock and judged by the broker's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import cast

import redis

from hotset.cli.doctor.finding import Finding, failed, ok, skipped, warning
from hotset.cli.doctor.world import World, connect
from hotset.errors import HotsetError
from hotset.store import make_engine
from hotset.store.engine import connected

_HERE = "this machine"
#: Wall seconds between two clocks that are worth a word, and that make deadlines wrong.
_WORTH_A_WORD_S = 0.5
_WRONG_S = 5.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A clock is ahead of this machine's by so many seconds, give or take `unsure_s`: half a round trip."""

    ahead_s: float
    unsure_s: float


def check_clocks(world: World) -> Iterator[Finding]:
    clocks = {_HERE: Reading(0.0, 0.0)}
    for name, read in (("Postgres", _read_postgres), ("the broker", _read_broker)):
        try:
            clocks[name] = read(world)
        except (HotsetError, redis.RedisError):
            continue  # that it does not answer is said elsewhere
    yield compare(clocks) if len(clocks) > 1 else skipped("clocks", "neither Postgres nor the broker answers")


def compare(clocks: Mapping[str, Reading]) -> Finding:
    """The largest disagreement that is beyond doubt."""
    apart = {(a, b): _apart(clocks[a], clocks[b]) for a, b in combinations(clocks, 2)}
    (one, other), seconds = max(apart.items(), key=lambda item: item[1])
    if seconds < _WORTH_A_WORD_S:
        return ok("clocks", f"{', '.join(clocks)} agree to within {_WORTH_A_WORD_S:g} s")
    ahead, behind = (one, other) if clocks[one].ahead_s > clocks[other].ahead_s else (other, one)
    found = f"{ahead} is {seconds:,.1f} s ahead of {behind}"
    remedy = "Let all machines keep time by NTP (`timedatectl set-ntp true`)."
    return (failed if seconds >= _WRONG_S else warning)("clocks", f"{found}: deadlines are off by that", remedy)


def _apart(a: Reading, b: Reading) -> float:
    return max(0.0, abs(a.ahead_s - b.ahead_s) - a.unsure_s - b.unsure_s)


def _read_postgres(world: World) -> Reading:
    engine = make_engine(world.settings.database_url.get_secret_value(), application="hotset-doctor", pool_size=1)
    query = "SELECT extract(epoch FROM clock_timestamp())"
    try:
        with connected(engine) as connection:
            return _reading(lambda: float(connection.exec_driver_sql(query).scalar_one()))
    finally:
        engine.dispose()


def _read_broker(world: World) -> Reading:
    def ask() -> float:
        seconds, micros = cast(tuple[int, int], client.time())
        return seconds + micros / 1e6

    with connect(world.settings.broker_url.get_secret_value(), "broker_url", world.answer_s) as client:
        client.ping()
        return _reading(ask)


def _reading(ask: Callable[[], float]) -> Reading:
    before = time.time()
    said = ask()
    after = time.time()
    return Reading(said - (before + after) / 2, (after - before) / 2)
