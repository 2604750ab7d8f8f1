"""Limits per minute, counted in the cache Redis by one script for all that a submission demands.

Not the `limits` package: it counts one limit at a time, so that several are not kept or refused together; its exact
window keeps an entry for each token; its compact one is an estimate that may let more through. A flushed cache forgets
a minute. See `lua/admit.lua`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

from hotset.broker.lanes import connect_redis, reachable
from hotset.broker.scripts import lua
from hotset.errors import BrokerUnavailable
from hotset.jobs.limits import Demand

_MINUTE_S = 60.0
_SLICES = 60
#: Wall seconds that a cache which did not answer is not asked again: each try would hold up a submit.
_AWAY_S = 5.0


class Overdrawn(Exception):
    """A demand that cannot be met now. `wait_s`: wall seconds until it could be; None: it never can."""

    def __init__(self, demand: Demand, wait_s: float | None) -> None:
        super().__init__(str(demand))
        self.demand = demand
        self.wait_s = wait_s


class Rates:
    """Thread-safe. `scale`: wall seconds per model second. Raises BrokerUnavailable when the cache is away."""

    def __init__(self, url: str, *, scale: float) -> None:
        self._redis = connect_redis(url, name="cache_url")
        self._admit = self._redis.register_script(lua("admit"))
        self._unadmit = self._redis.register_script(lua("unadmit"))
        self._window_ms = _MINUTE_S * scale * 1000
        self._away_until = float("-inf")

    def admit(self, demands: Sequence[Demand]) -> int:
        """Count them all, or none: then Overdrawn. The answer names what `give_back` takes back."""
        if time.monotonic() < self._away_until:
            raise BrokerUnavailable("The cache, which counts limits, did not answer a moment ago.")
        arguments: list[Any] = [self._window_ms, _SLICES]
        for demand in demands:
            arguments += [_key(demand), demand.most, demand.amount]
        try:
            with reachable(self._redis):
                found, where = cast(list[int], self._admit(args=arguments))
        except BrokerUnavailable:
            self._away_until = time.monotonic() + _AWAY_S
            raise
        if found == 0:
            return where
        raise Overdrawn(demands[where - 1], None if found < 0 else found / 1000)

    def give_back(self, demands: Sequence[Demand], ticket: int) -> None:
        """Nothing came of what was counted."""
        arguments: list[Any] = [ticket]
        for demand in demands:
            arguments += [_key(demand), demand.amount]
        with reachable(self._redis):
            self._unadmit(args=arguments)

    def close(self) -> None:
        self._redis.close()


def _key(demand: Demand) -> str:
    return f"hs:rate:{demand.scope}:{demand.kind}:{demand.name}"
