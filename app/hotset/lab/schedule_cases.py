"""What the scheduler is judged on: loads and fleets drawn anew for every seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from hotset.fleet import Fleet, Gpu, Model, Queue
from hotset.fleet_file import classic_fleet
from hotset.simulator import SimJob
from hotset.simulator.fleets import draw_fleet
from hotset.simulator.workloads import Kind, Workload, draw_jobs, fitting_mix, job_shares, zipf_mix

#: The loads of the shared scenarios; each seed moves loads and mix.
_LOADS: tuple[tuple[Kind, float], ...] = (
    ("poisson", 0.5), ("poisson", 0.7), ("poisson", 0.85), ("bursty", 0.6), ("bursty", 0.8), ("flood", 0.7),
)  # fmt: skip
_LOAD_MOVES, _MIX_MOVES = 0.05, 0.4
#: Sizes with which no two of the classic models fit together.
_APART = {"tinyllama": 1300.0, "qwen2.5-coder:7b": 3000.0}
#: GPUs × models. The first has the classic models.
SHAPES = ((4, 3), (16, 8), (100, 50))
_BACKLOG_PER_SLOT = 20
#: Jobs of a load: so many a slot of the fleet. With fewer the end decides, when single long runs go on alone.
_LOADED_PER_SLOT = 150
#: Many GPUs wait for each other so little that nearly all deadlines would be met by anybody.
_TIGHT = 0.3
#: Busy and quiet times of a fleet together, so short that a sample has many.
_BURSTS_S = 300.0


@dataclass(frozen=True, slots=True)
class Case:
    """`jobs()` draws the same jobs each time."""

    name: str
    fleet: Fleet
    jobs: Callable[[], Iterator[SimJob]]


def single_cases(seed: int, jobs: int) -> list[Case]:
    """One 4 GB GPU: six loads in two memory regimes."""
    rng = random.Random(f"{seed} single")
    cases = []
    for regime, fleet in regimes():
        for kind, load in _LOADS:
            moved = load + rng.uniform(-_LOAD_MOVES, _LOAD_MOVES)
            workload = Workload(kind, moved, jobs, rng.randrange(1 << 30), _moved_mix(fleet, rng), agents=131)
            cases.append(_case(f"{regime} {kind} {moved:.2f}", fleet, workload))
    return cases


def backlog_cases(seed: int, jobs: int) -> list[Case]:
    """One 4 GB GPU: everything is there at the start."""
    rng = random.Random(f"{seed} backlog")
    return [
        _case(
            f"{regime} backlog",
            fleet,
            Workload("backlog", 1.0, jobs, rng.randrange(1 << 30), _moved_mix(fleet, rng), agents=131),
        )
        for regime, fleet in regimes()
    ]


def kinds_cases(seed: int, jobs: int) -> list[Case]:
    """One 4 GB GPU: the remaining kinds of load, for losses that the six above hide."""
    rng = random.Random(f"{seed} kinds")
    asked: tuple[tuple[Kind, float, float | None], ...] = (
        ("rare", 0.7, None), ("drift", 0.7, None), ("alternation", 0.7, None), ("diurnal", 0.6, 7200.0),
    )  # fmt: skip
    return [
        _case(
            f"{regime} {kind} {load:.2f}",
            fleet,
            Workload(kind, load, jobs, rng.randrange(1 << 30), _moved_mix(fleet, rng), agents=131, period_s=period_s),
        )
        for regime, fleet in regimes()
        for kind, load, period_s in asked
    ]


def fleet_cases(seed: int, gpus: int, models: int, jobs: int) -> tuple[Case, tuple[Case, Case]]:
    """A backlog; and a load of 0.85, Poisson with tight deadlines and in bursts, on a fleet of mixed VRAM and speed.

    `jobs`: 1500 is the usual, fewer shorten the loads."""
    rng = random.Random(f"{seed} fleet {gpus}")
    if models == 3:
        classic = classic_fleet()
        speeds = [(1.0, 3686.0), (1.0, 3686.0), (1.5, 3686.0), (1.5, 7373.0)]
        fleet = replace(
            classic,
            gpus=tuple(Gpu(f"gpu{i}", speeds[i % 4][1], 2, speeds[i % 4][0]) for i in range(gpus)),
        )
        mix = _moved_mix(fleet, rng)
    else:
        fleet = draw_fleet(gpus, models, seed)
        mix = fitting_mix(fleet, zipf_mix(fleet, seed))
    slots = sum(gpu.slots for gpu in fleet.gpus)
    draw, shape = rng.randrange(1 << 30), f"{gpus} × {models}"
    backlog = Workload("backlog", 1.0, _BACKLOG_PER_SLOT * slots, draw, mix, agents=131)
    count = max(10, round(_LOADED_PER_SLOT * slots * jobs / 1500))
    loaded = Workload("poisson", 0.85, count, draw, mix, agents=131, deadline_factor=_TIGHT)
    bursts = replace(loaded, kind="bursty", deadline_factor=1.0, period_s=_BURSTS_S)
    return _case(f"{shape} backlog", fleet, backlog), (
        _case(f"{shape} poisson 0.85", fleet, loaded),
        _case(f"{shape} bursty 0.85", fleet, bursts),
    )


def exact_cases(seed: int, count: int, *, arriving: bool = False) -> list[Case]:
    """A handful of jobs on one GPU, runs as estimated, deadlines from hopeless to easy; `arriving`: within a minute."""
    rng = random.Random(f"{seed} exact {arriving}")
    return [_handful(rng, number, arriving) for number in range(1, count + 1)]


def _handful(rng: random.Random, number: int, arriving: bool) -> Case:
    drawn = number % 3 == 0
    fleet = _three_models(rng) if drawn else rng.choice(regimes())[1]
    queues, jobs = list(fleet.queues.values()), []
    shares = [rng.uniform(0.2, 1.0) for _ in queues]
    for i in range(rng.randint(3, 8 if arriving else 12)):
        queue = rng.choices(queues, shares)[0]
        at = round(rng.uniform(0, 60), 1) if arriving else 0.0
        jobs.append(SimJob(f"j{i:02d}", at, queue.name, queue.run_s, queue.deadline_s * rng.choice((0.2, 0.5, 1.0))))
    jobs.sort(key=lambda job: job.arrive_s)
    return Case(f"{len(jobs)} jobs, {'drawn' if drawn else 'classic'} models, no. {number}", fleet, lambda: iter(jobs))


def _three_models(rng: random.Random) -> Fleet:
    models = {
        f"m{i}": Model(f"m{i}", rng.choice((800, 1500, 2200, 3200)), rng.choice((1.0, 3.0, 8.0))) for i in range(3)
    }
    queues = {
        f"q{i}": Queue(f"q{i}", name, f"t{i}", rng.choice((20.0, 60.0, 120.0)), rng.choice((2.0, 5.0, 12.0, 25.0)))
        for i, name in enumerate(models)
    }
    return Fleet((Gpu("gpu0", 3686.0),), models, queues)


def regimes() -> tuple[tuple[str, Fleet], ...]:
    """classic: tinyllama and qwen fit together. single: nothing fits together."""
    classic = classic_fleet()
    models = {name: replace(model, size_mb=_APART.get(name, model.size_mb)) for name, model in classic.models.items()}
    return ("classic", classic), ("single", replace(classic, models=models))


def geometric(values: Sequence[float]) -> float:
    """The geometric mean; figures of nothing count as a thousandth."""
    return math.exp(sum(math.log(max(value, 1e-3)) for value in values) / len(values))


def _case(name: str, fleet: Fleet, workload: Workload) -> Case:
    return Case(name, fleet, lambda: draw_jobs(fleet, workload))


def _moved_mix(fleet: Fleet, rng: random.Random) -> dict[str, float]:
    usual = job_shares(fleet, Workload())
    return {name: share * math.exp(rng.gauss(0.0, _MIX_MOVES)) for name, share in usual.items()}
