"""Before anything is accepted: limits are asked, and whoever wants to wait for them waits here.

Limits per minute are counted in the cache first, limits on open jobs checked by the transaction that accepts; if that
refuses, what was counted is taken back. Without a limits file none of it happens.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from hotset.agents import Agent, Registry, generation_options
from hotset.broker.rates import Overdrawn, Rates
from hotset.client.steps import Call, Pause, Plan
from hotset.errors import BrokerUnavailable, RateLimited
from hotset.fleet import Fleet
from hotset.jobs import NewJob
from hotset.jobs.limits import Demand, Limits, demands

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Wall seconds: a wait is cut into pieces, since room may come sooner than was estimated.
_LONGEST_PAUSE_S = 5.0
#: Those who wait come back spread over so much more than the estimate.
_SPREAD = 0.2
#: A token is some four characters of English text (what tokenizers of this size are known for).
_CHARS_PER_TOKEN = 4


class Admission:
    """Asks a client's limits. Thread-safe. `rates`: None without limits. `required`: refuse what cannot be counted."""

    def __init__(
        self, limits: Limits, registry: Registry, fleet: Fleet, rates: Rates | None, *, required: bool
    ) -> None:
        self._limits = limits
        self._registry = registry
        self._fleet = fleet
        self._rates = rates
        self._required = required

    @contextmanager
    def of(self, jobs: Sequence[NewJob]) -> Iterator[tuple[Demand, ...]]:
        """Around the acceptance of these jobs; gives the limits on open jobs that it must keep. Raises RateLimited."""
        if not self._limits:
            yield ()
            return
        asked = demands(self._limits, jobs, self._tokens)
        per_minute = [d for d in asked if d.kind != "open_jobs"]
        ticket = self._admit(per_minute)
        try:
            yield tuple(d for d in asked if d.kind == "open_jobs")
        except BaseException:
            if ticket is not None:
                self._give_back(per_minute, ticket)
            raise

    def together(self, most: int) -> int:
        """How many jobs at once can be admitted at all, of `most`."""
        bounds = [
            bound
            for entries in (self._limits.tenants, self._limits.agents, self._limits.queues)
            for limit in entries.values()
            for bound in (limit.requests_per_min, limit.open_jobs)
            if bound is not None
        ]
        return max(1, min([most, *bounds]))

    def close(self) -> None:
        if self._rates is not None:
            self._rates.close()

    def _admit(self, per_minute: Sequence[Demand]) -> int | None:
        if not per_minute or self._rates is None:
            return None
        try:
            return self._rates.admit(per_minute)
        except Overdrawn as e:
            demand = e.demand
            asked = f"{demand.amount:,} were submitted together" if e.wait_s is None else "they are used up"
            # Not chained: the caller needs no more than this.
            raise RateLimited(f"{demand}, and {asked}.", retry_after_s=e.wait_s) from None
        except BrokerUnavailable as e:
            if self._required:
                raise
            log.warning("Limits per minute are not kept now (see limits_required): %s", e)
            return None

    def _give_back(self, per_minute: Sequence[Demand], ticket: int) -> None:
        try:
            if self._rates is not None:
                self._rates.give_back(per_minute, ticket)
        except BrokerUnavailable as e:
            log.debug("What was counted stays counted for a minute: %s", e)

    def _tokens(self, job: NewJob) -> int:
        """Of the prompt, estimated, and as many of the answer as it may have."""
        queue = self._fleet.queues[job.queue]
        own = (job.spec or {}).get("agent")
        agent = Agent(**own) if own is not None else self._registry.get(job.agent)
        options = generation_options(agent, self._fleet.models[queue.model], queue.tier, job.options)
        return len(job.prompt) // _CHARS_PER_TOKEN + 1 + int(options["num_predict"])


def admitted(accept: Callable[[], T], wait: bool | float) -> Plan[Any, T]:
    """Accept, or wait until that is admitted: `wait` True for ever, a number at most so many wall seconds.

    Raises RateLimited when it is not to wait, or when waiting is in vain.
    """
    # True is no number of seconds here, though Python takes it for 1.
    until = None if wait is True else time.monotonic() + wait
    while True:
        try:
            accepted: T = yield Call(accept)
            return accepted
        except RateLimited as e:
            soon = e.retry_after_s
            if soon is None or wait is False:
                raise
            pause = min(soon * (1 + _SPREAD * random.random()), _LONGEST_PAUSE_S)
            if until is not None and time.monotonic() + pause > until:
                raise
        yield Pause(pause)
