"""Workloads drawn with a seed: the jobs of a `Workload` on a fleet, in order of arrival, as many as are asked for.

Each aspect (arrivals, queues, run times, agents, tenants, priorities) has dice of its own. So another load changes the
arrivals alone, in proportion, and one job is the same job at every load: comparisons and searches are not blurred.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, repeat
from typing import Literal, get_args

from hotset.errors import UsageError, did_you_mean
from hotset.fleet import Fleet, Queue
from hotset.simulator.jobs_file import LANES, SimJob

Kind = Literal["poisson", "bursty", "backlog", "flood", "rare", "drift", "alternation", "diurnal"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: The catalogue's agents by tier: what the classic queues are asked for.
_CATALOGUE = {"light": 36.0, "balanced": 59.0, "complex": 36.0}
#: bursty: rates of the two states ÷ the mean. The busy state lasts 3/7 of the time, so that the mean is 1.
_BUSY, _QUIET = 1.8, 0.4
_BUSY_PART = (1.0 - _QUIET) / (_BUSY - _QUIET)
_BURST_PERIOD_S, _DAY_S = 3600.0, 86400.0
#: diurnal: the rate swings by this part of the mean; nights are quiet, not empty.
_SWING = 0.8
#: flood and rare: the shares of the one queue that everybody asks for, and of the one that hardly anybody does.
_FLOOD_SHARE, _RARE_SHARE = 0.79, 0.01
#: drift: how often the shares move, as a part of the jobs.
_DRIFT_STEPS = 200


@dataclass(frozen=True, slots=True)
class Workload:
    """What to draw. Times are model seconds; shares are relative, by number of jobs.

    `load`: offered work ÷ what the fleet gets done without swaps (see `capacity`). `mix`: queue -> share; None: as the
    catalogue's agents where the tiers are its own, else alike. `cv`: coefficient of variation of run times around
    their agent's mean, log-normal; `agent_cv`: of the agents' means around their queue's estimate. `agents`: so many,
    shared out by the mix (0: jobs name none). `queue`: whose flood, or who is rare (None: the most asked for; the one
    with the longest runs). `period_s`: of bursts (one busy and one quiet time) or of a day. `deadline_factor` stretches
    every deadline.
    """

    kind: Kind = "poisson"
    load: float = 0.7
    jobs: int = 1500
    seed: int = 1
    mix: Mapping[str, float] | None = None
    cv: float = 0.6
    agent_cv: float = 0.0
    agents: int = 0
    tenants: Mapping[str, float] = field(default_factory=lambda: {"default": 1.0})
    priorities: Mapping[str, float] = field(default_factory=lambda: {"normal": 1.0})
    queue: str | None = None
    period_s: float | None = None
    deadline_factor: float = 1.0


def draw_jobs(fleet: Fleet, workload: Workload) -> Iterator[SimJob]:
    """The jobs, one by one: a million need no memory. The same arguments give the same jobs on every machine.

    UsageError, before the first job, for an unknown kind, queue or priority, or a number that makes no sense.
    """
    check(fleet, workload)
    return _jobs(fleet, workload)


def _jobs(fleet: Fleet, workload: Workload) -> Iterator[SimJob]:
    dice = Dice(workload.seed)
    shares = job_shares(fleet, workload)
    makers = {name: _JobMaker(fleet.queues[name], workload, shares[name], dice) for name in shares}
    tenant = chooser(workload.tenants, dice("tenants"))
    priority = chooser(workload.priorities, dice("priorities"))
    width = max(6, len(str(workload.jobs)))
    for number, (at, name) in enumerate(_arrivals(fleet, workload, shares, dice)):
        yield makers[name].job(f"j{number:0{width}d}", at, tenant(), priority())


def job_shares(fleet: Fleet, workload: Workload) -> dict[str, float]:
    """Each queue's share of the jobs (they sum to 1), at the start of a drift; queues without jobs are left out."""
    mix = _mix(fleet, workload)
    if workload.kind == "flood":
        return _flood(fleet, mix, workload.queue)
    if workload.kind == "rare":
        rare = workload.queue or max(mix, key=lambda name: (fleet.queues[name].run_s, name))
        return _with_share(mix, rare, _RARE_SHARE)
    return mix


def capacity(fleet: Fleet, shares: Mapping[str, float]) -> float:
    """Jobs a second of this mix that the fleet gets done if nothing had to be swapped, each model where it fits.

    A model runs on the GPUs that are large enough, and what fits on a small one fits on all larger: so the narrowest
    of "all work for models of at least this size, on the GPUs that hold it" is the bound, and is reached (Hall).
    """
    work = {name: share * fleet.queues[name].run_s for name, share in shares.items() if share > 0}
    size = {name: fleet.models[fleet.queues[name].model].size_mb for name in work}
    narrowest = math.inf
    for least in set(size.values()):
        power = sum(gpu.slots * gpu.speed for gpu in fleet.gpus if gpu.vram_mb >= least)
        narrowest = min(narrowest, power / sum(work[name] for name in work if size[name] >= least))
    return narrowest


def zipf_mix(fleet: Fleet, seed: int, exponent: float = 0.9) -> dict[str, float]:
    """Popularity as on the web: the k-th queue of a shuffled order is asked for in proportion to k^-exponent."""
    names = list(fleet.queues)
    Dice(seed)("popularity").shuffle(names)
    return {name: (k + 1) ** -exponent for k, name in enumerate(names)}


def fitting_mix(fleet: Fleet, mix: Mapping[str, float], part: float = 0.8) -> dict[str, float]:
    """The mix with fewer jobs for models that only few GPUs hold: their work is at most that part of those GPUs' power,
    so that VRAM is short for swaps' sake alone, and no job waits because large GPUs are too few."""
    fitted = {name: share for name, share in mix.items() if share > 0}
    size = {name: fleet.models[fleet.queues[name].model].size_mb for name in fitted}
    power = sum(gpu.slots * gpu.speed for gpu in fleet.gpus)
    for least in sorted(set(size.values()), reverse=True):
        holders = sum(gpu.slots * gpu.speed for gpu in fleet.gpus if gpu.vram_mb >= least) / power
        large = sum(fitted[name] * fleet.queues[name].run_s for name in fitted if size[name] >= least)
        small = sum(fitted[name] * fleet.queues[name].run_s for name in fitted if size[name] < least)
        if small and holders < 1 and large > part * holders * (large + small):
            # large·f = part·holders·(large·f + small)
            factor = part * holders * small / (large * (1 - part * holders))
            for name in fitted:
                fitted[name] *= factor if size[name] >= least else 1.0
    return fitted


# ---- shares ----------------------------------------------------------------------------------------------------


def _mix(fleet: Fleet, workload: Workload) -> dict[str, float]:
    given = workload.mix
    if given is None:
        tiers = {queue.tier for queue in fleet.queues.values()}
        known = _CATALOGUE if tiers <= _CATALOGUE.keys() else dict.fromkeys(tiers, 1.0)
        given = {queue.name: known[queue.tier] for queue in fleet.queues.values()}
    total = sum(given.values())
    return {name: given[name] / total for name in fleet.queues if given.get(name, 0.0) > 0}


def _flood(fleet: Fleet, mix: dict[str, float], queue: str | None) -> dict[str, float]:
    flooded = queue or max(mix, key=lambda name: (mix[name], name))
    others = [name for name in mix if name != flooded]
    if len(others) < 2:
        return _with_share(mix, flooded, _FLOOD_SHARE)
    rare = max(others, key=lambda name: (fleet.queues[name].run_s, name))
    rest = sum(mix[name] for name in others if name != rare)
    left = 1.0 - _FLOOD_SHARE - _RARE_SHARE
    return {
        name: _FLOOD_SHARE if name == flooded else _RARE_SHARE if name == rare else left * mix[name] / rest
        for name in mix
    }


def _with_share(mix: Mapping[str, float], queue: str, share: float) -> dict[str, float]:
    """The mix with that queue's share set; the others keep their proportions."""
    rest = sum(mix[name] for name in mix if name != queue)
    if not rest:
        return {queue: 1.0}
    return {name: share if name == queue else (1.0 - share) * mix[name] / rest for name in {**mix, queue: 0.0}}


# ---- arrivals --------------------------------------------------------------------------------------------------


def _arrivals(fleet: Fleet, workload: Workload, shares: Mapping[str, float], dice: Dice) -> Iterator[tuple[float, str]]:
    """(moment, queue) of each job."""
    count, rng = workload.jobs, dice("arrivals")
    rate = workload.load * capacity(fleet, shares)
    queue = chooser(shares, dice("queues"))
    match workload.kind:
        case "backlog":
            times: Iterator[float] = repeat(0.0)
        case "bursty":
            times = _bursts(rate, rng, dice("states"), workload.period_s or _BURST_PERIOD_S)
        case "diurnal":
            times = _day(rate, rng, workload.period_s or _DAY_S)
        case "alternation":
            times, queue = accumulate(repeat(1.0 / rate)), _taking_turns(shares)
        case "drift":
            yield from _drift(fleet, workload, shares, dice)
            return
        case _:
            times = accumulate(rng.expovariate(rate) for _ in repeat(None))
    for _ in range(count):
        yield next(times), queue()


def _bursts(rate: float, rng: random.Random, states: random.Random, period_s: float) -> Iterator[float]:
    """A Poisson process whose rate has two states, each lasting an exponential time."""
    now, busy = 0.0, states.random() < _BUSY_PART
    until = 0.0
    while True:
        left = rng.expovariate(1.0)  # in expected arrivals; used up at the rate of each state that it lasts through
        while True:
            if until <= now:
                part = _BUSY_PART if busy else 1.0 - _BUSY_PART
                until = now + states.expovariate(1.0 / (period_s * part))
            at_rate = rate * (_BUSY if busy else _QUIET)
            needed = left / at_rate
            if now + needed < until:
                now += needed
                break
            left -= (until - now) * at_rate
            now, busy = until, not busy
        yield now


def _day(rate: float, rng: random.Random, period_s: float) -> Iterator[float]:
    """A Poisson process whose rate goes up and down like a sine, from its lowest; by thinning (Lewis, Shedler 1979)."""
    now, highest = 0.0, 1.0 + _SWING
    while True:
        now += rng.expovariate(rate * highest)
        if rng.random() * highest < 1.0 - _SWING * math.cos(2 * math.pi * now / period_s):
            yield now


def _taking_turns(shares: Mapping[str, float]) -> Callable[[], str]:
    """Every queue as evenly spread as its share allows (smooth weighted round robin): the worst order for batching."""
    credit = dict.fromkeys(shares, 0.0)

    def following() -> str:
        for name, share in shares.items():
            credit[name] += share
        chosen = max(credit, key=lambda name: credit[name])
        credit[chosen] -= 1.0
        return chosen

    return following


def _drift(fleet: Fleet, workload: Workload, shares: Mapping[str, float], dice: Dice) -> Iterator[tuple[float, str]]:
    """The shares move to their reverse over the jobs: the rarest becomes the most asked for, at one load."""
    rng, queues = dice("arrivals"), dice("queues")
    names = sorted(shares, key=lambda name: (shares[name], name))
    final = dict(zip(names, [shares[name] for name in reversed(names)], strict=True))
    every = max(1, workload.jobs // _DRIFT_STEPS)
    now, rate, queue = 0.0, 0.0, chooser(shares, queues)
    for number in range(workload.jobs):
        if number % every == 0:
            part = number / workload.jobs
            moved = {name: (1 - part) * shares[name] + part * final[name] for name in shares}
            rate, queue = workload.load * capacity(fleet, moved), chooser(moved, queues)
        now += rng.expovariate(rate)
        yield now, queue()


# ---- jobs ------------------------------------------------------------------------------------------------------


class _JobMaker:
    """The jobs of one queue: its agents and how long their runs take."""

    def __init__(self, queue: Queue, workload: Workload, share: float, dice: Dice) -> None:
        self._queue = queue
        self._agents = draw_agents(queue.name, workload, share, dice)
        self._deadline_s = queue.deadline_s * workload.deadline_factor
        self._runs = dice(f"runs of {queue.name}")
        self._who = dice(f"agents of {queue.name}")
        self._mu, self._sigma = log_normal(workload.cv)

    def job(self, name: str, at: float, tenant: str, priority: str) -> SimJob:
        agent, factor = self._agents[int(self._who.random() * len(self._agents))]
        run_s = self._queue.run_s * factor
        if self._sigma:
            run_s *= math.exp(self._mu + self._sigma * self._runs.gauss(0.0, 1.0))
        return SimJob(name, at, self._queue.name, run_s, self._deadline_s, agent, priority, tenant)


def draw_agents(queue: str, workload: Workload, share: float, dice: Dice) -> list[tuple[str, float]]:
    """(name, mean run ÷ the queue's estimate) of the queue's agents; the means' mean is 1."""
    if not workload.agents:
        return [("", 1.0)]
    count = max(1, round(workload.agents * share))
    rng = dice(f"agents' means of {queue}")
    mu, sigma = log_normal(workload.agent_cv)
    means = [math.exp(mu + sigma * rng.gauss(0.0, 1.0)) for _ in range(count)]
    total = sum(means)
    return [(f"{queue}-{i:03d}", mean * count / total) for i, mean in enumerate(means, start=1)]


def log_normal(cv: float) -> tuple[float, float]:
    """(mu, sigma) of the log-normal distribution with mean 1 and that coefficient of variation."""
    variance = math.log1p(cv * cv)
    return -variance / 2, math.sqrt(variance)


def chooser(shares: Mapping[str, float], rng: random.Random) -> Callable[[], str]:
    """A function that draws a name by its share."""
    names = list(shares)
    if len(names) == 1:
        return lambda: names[0]
    ends = list(accumulate(shares.values()))
    last = len(names) - 1
    return lambda: names[min(last, bisect_right(ends, rng.random() * ends[-1]))]


class Dice:
    """Independent dice by name, all from one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, what: str) -> random.Random:
        return random.Random(f"{self._seed} {what}")


# ---- checks ----------------------------------------------------------------------------------------------------


def check(fleet: Fleet, workload: Workload) -> None:
    """UsageError for a workload that cannot be drawn for this fleet."""
    if workload.kind not in KINDS:
        hint = did_you_mean(workload.kind, KINDS, "")
        raise UsageError(
            f"There is no workload {workload.kind!r}.",
            remedy=f"{hint if hint.startswith('Did') else ''} Choose one of {', '.join(KINDS)}.".strip(),
        )
    _known(workload.mix or {}, fleet.queues, "queue")
    _known({workload.queue: 1.0} if workload.queue else {}, fleet.queues, "queue")
    _known(workload.priorities, LANES, "priority")
    _shares("mix", workload.mix) if workload.mix is not None else None
    _shares("tenants", workload.tenants)
    _shares("priorities", workload.priorities)
    for name, value, least in (
        ("load", workload.load, 0.0),
        ("deadline_factor", workload.deadline_factor, 0.0),
        ("period_s", workload.period_s or 1.0, 0.0),
    ):
        if not least < value < math.inf:
            raise UsageError(f"{name} is {value!r}.", remedy="Give a number above zero.")
    for name, value in (("cv", workload.cv), ("agent_cv", workload.agent_cv)):
        if not 0 <= value <= 10:
            raise UsageError(f"{name} is {value!r}.", remedy="Give a number from 0 (all alike) to 10.")
    for name, number in (("jobs", workload.jobs), ("agents", workload.agents)):
        if number < 0:
            raise UsageError(f"{name} is {number!r}.", remedy="Give a whole number of 0 or more.")
    for name in job_shares(fleet, workload):
        model = fleet.models[fleet.queues[name].model]
        if not any(model.size_mb <= gpu.vram_mb for gpu in fleet.gpus):
            raise UsageError(
                f"{model.name} of queue {name} needs {model.size_mb:.0f} MiB; no GPU has that much.",
                remedy="Leave the queue out of the mix, or give the fleet a larger GPU.",
            )


def _known(given: Mapping[str, float], known: Sequence[str] | Mapping[str, object], what: str) -> None:
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known, "")
            raise UsageError(
                f"There is no {what} {name!r}.",
                remedy=hint if hint.startswith("Did") else f"Known: {', '.join(known)}.",
            )


def _shares(what: str, shares: Mapping[str, float]) -> None:
    if not all(0 <= share < math.inf for share in shares.values()) or not 0 < sum(shares.values()) < math.inf:
        raise UsageError(f"The {what} cannot be shared out.", remedy="Give numbers of 0 or more that are not all 0.")
