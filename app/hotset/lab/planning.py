"""How many GPUs of which kind a load needs: found by simulating it on more and fewer of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hotset.errors import InvalidFleet, UsageError
from hotset.fleet import Fleet, Gpu
from hotset.lab.plots import Point, as_point
from hotset.scheduling import OBJECTIVES, Objective, Options
from hotset.scheduling.options import PATIENCE
from hotset.simulator import Policy, SimJob, simulate
from hotset.simulator.live_policy import LivePolicy
from hotset.simulator.world import World, new_result

#: A draw of the load: the same jobs at each call, so that every number of GPUs is tried on the same.
Load = Callable[[], Iterable[SimJob]]


@dataclass(frozen=True, slots=True)
class GpuKind:
    """A GPU that can be had; `cost_per_h` in whatever currency, None: not known."""

    gpu: Gpu
    cost_per_h: float | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """`misses`: the largest part of deadlines missed. `p95_s`, `p99_s`: of the waits, in model seconds (None: not
    asked for). `bound`: no job may wait beyond the fleet's `max_wait_s`."""

    misses: float = 0.01
    p95_s: float | None = None
    p99_s: float | None = None
    bound: bool = True


@dataclass(frozen=True, slots=True)
class Trial:
    """So many GPUs, and the worst that any draw of the load did on them. `lacks`: what the target asks beyond it."""

    gpus: int
    misses: float
    p95_s: float
    p99_s: float
    max_wait_s: float
    over_bound: int
    goodput: float
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """`gpus`: the fewest of this kind (None: no number up to the limit is enough; `reason` says why)."""

    kind: GpuKind
    gpus: int | None
    trials: tuple[Trial, ...]
    reason: str

    @property
    def cost_per_h(self) -> float | None:
        if self.gpus is None or self.kind.cost_per_h is None:
            return None
        return self.gpus * self.kind.cost_per_h


def plan(
    fleet: Fleet,
    loads: Sequence[Load],
    kinds: Sequence[GpuKind],
    target: Target,
    *,
    max_gpus: int = 64,
    beside: bool = False,
    objective: Objective = "balanced",
    progress: Callable[[str], None] = lambda _: None,
) -> list[Answer]:
    """For each kind the fewest GPUs that meet the target on every draw of the load, in the kinds' order.

    `beside`: the fleet's own GPUs stay, and the answer is how many more; else it is how many in all. The search
    doubles until it is enough, then halves the rest: the answer is enough and one less is not. UsageError for a
    target or a limit that makes no sense.
    """
    _check(target, max_gpus)
    return [_Search(fleet, loads, kind, target, max_gpus, beside, objective, progress).run() for kind in kinds]


def kinds_of(fleet: Fleet) -> list[GpuKind]:
    """The different GPUs that the fleet has."""
    seen: dict[tuple[float, int, float], GpuKind] = {}
    for gpu in fleet.gpus:
        seen.setdefault((gpu.vram_mb, gpu.slots, gpu.speed), GpuKind(replace(gpu, address=None)))
    return list(seen.values())


def read_kinds(path: Path) -> list[GpuKind]:
    """A YAML file: a list of `{name, vram_mb, slots: 2, speed: 1.0, cost_per_h: 0.12}`. InvalidFleet if it is not."""
    try:
        rows = TypeAdapter(list[_KindRow]).validate_python(yaml.safe_load(path.read_text("utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, ValidationError) as error:
        what = _first(error) if isinstance(error, ValidationError) else "it is not YAML"
        raise InvalidFleet(
            f"{path}: {what}.", remedy="Write a list such as `- {name: large, vram_mb: 22118, cost_per_h: 0.40}`."
        ) from None
    if not rows or len({row.name for row in rows}) < len(rows):
        raise InvalidFleet(f"{path}: there is no kind, or two have one name.", remedy="Give each kind its own name.")
    return [GpuKind(Gpu(row.name, row.vram_mb, row.slots, row.speed), row.cost_per_h) for row in rows]


def frontier(
    fleet: Fleet, jobs: Sequence[SimJob], progress: Callable[[str], None] = lambda _: None
) -> tuple[list[Point], dict[str, dict[str, Any]]]:
    """What this load can be traded for on this fleet: hotset by objective, each with half and twice its patience too,
    beside the other policies.

    The points, those of hotset from the least patient on, and the reports by the points' names.
    """
    ours = [_Patient(objective, factor) for objective in OBJECTIVES for factor in (1.0, 0.5, 2.0)]
    reports: dict[str, dict[str, Any]] = {}
    for options in sorted({o.patience: o for o in reversed(ours)}.values(), key=lambda o: o.patience):
        progress(options.name)
        result = new_result("hotset", fleet)
        World(fleet, jobs, LivePolicy(fleet, result, options), result).run()
        reports[options.name] = result.report()
    lines = dict.fromkeys(reports, "hotset")
    for policy in _BESIDE:
        progress(policy)
        reports[policy] = simulate(fleet, jobs, policy).report()
    reference = reports["unlimited"]["throughput_per_h"]
    points = [as_point(name, report, reference, lines.get(name)) for name, report in reports.items()]
    return [replace(point, label=point.line is None or point.name in OBJECTIVES) for point in points], reports


_BESIDE: tuple[Policy, ...] = ("hot-first", "unlimited")


@dataclass(frozen=True, slots=True)
class _Patient(Options):
    """An objective with its patience changed."""

    factor: float = 1.0

    @property
    def patience(self) -> float:
        return PATIENCE[self.objective] * self.factor

    @property
    def name(self) -> str:
        return self.objective if self.factor == 1.0 else f"{self.objective} × {self.factor:g}"


class _KindRow(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=200)
    vram_mb: float = Field(gt=0)
    slots: int = Field(default=2, ge=1, le=64)
    speed: float = Field(default=1.0, gt=0)
    cost_per_h: float | None = Field(default=None, ge=0)


def _first(error: ValidationError) -> str:
    one = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}"


class _Search:
    """The fewest GPUs of one kind."""

    def __init__(
        self,
        fleet: Fleet,
        loads: Sequence[Load],
        kind: GpuKind,
        target: Target,
        max_gpus: int,
        beside: bool,
        objective: Objective,
        progress: Callable[[str], None],
    ) -> None:
        self._fleet, self._loads, self._kind, self._target = fleet, loads, kind, target
        self._limit, self._beside, self._objective, self._progress = max_gpus, beside, objective, progress
        self._trials: dict[int, Trial] = {}

    def run(self) -> Answer:
        misfit = self._misfit()
        if misfit:
            return Answer(self._kind, None, (), misfit)
        few, enough = (-1 if self._beside else 0), self._first_guess()
        while not self._meets(enough):
            if enough >= self._limit:
                return self._answer(None, f"{enough} are not enough: {_and(self._trials[enough].lacks)}")
            few, enough = enough, min(self._limit, max(1, 2 * enough))
        while enough - few > 1:
            middle = (few + enough) // 2
            few, enough = (few, middle) if self._meets(middle) else (middle, enough)
        if few in self._trials:
            return self._answer(enough, f"with {few}: {_and(self._trials[few].lacks)}")
        return self._answer(enough, "the fewest there can be")

    def _misfit(self) -> str:
        """A model that fits nowhere, if there is one."""
        holders = [self._kind.gpu, *(self._fleet.gpus if self._beside else ())]
        largest = max(gpu.vram_mb for gpu in holders)
        for queue in sorted({job.queue for load in self._loads for job in load()}):
            model = self._fleet.models[self._fleet.queues[queue].model]
            if model.size_mb > largest:
                return f"{model.name} needs {model.size_mb:,.0f} MiB, it has {largest:,.0f}"
        return ""

    def _first_guess(self) -> int:
        """What the work alone needs, were there no swaps."""
        needed = 0.0
        for load in self._loads:
            work, last = 0.0, 0.0
            for job in load():
                work, last = work + job.run_s, job.arrive_s
            needed = max(needed, work / last if last > 0 else 1.0)
        own = sum(gpu.slots * gpu.speed for gpu in self._fleet.gpus) if self._beside else 0.0
        each = self._kind.gpu.slots * self._kind.gpu.speed
        return max(0 if self._beside else 1, min(self._limit, math.ceil((needed - own) / each)))

    def _meets(self, gpus: int) -> bool:
        trial = self._trials.get(gpus)
        if trial is None:
            trial = self._trials[gpus] = self._try(gpus)
            how = "enough" if not trial.lacks else "too few"
            self._progress(
                f"{gpus} × {self._kind.gpu.name}: {trial.misses:.1%} missed, p95 wait {trial.p95_s:,.0f} s, {how}"
            )
        return not trial.lacks

    def _try(self, gpus: int) -> Trial:
        template = self._kind.gpu
        new = tuple(replace(template, name=f"{template.name}-{i + 1}") for i in range(gpus))
        devices = (*self._fleet.gpus, *new) if self._beside else new
        fleet = replace(self._fleet, gpus=devices)
        reports = [simulate(fleet, load(), "hotset", self._objective).report() for load in self._loads]
        trial = Trial(
            gpus,
            max(r["deadline_missed"] / (r["jobs"] or 1) for r in reports),
            max(r["wait_s"]["p95"] for r in reports),
            max(r["wait_s"]["p99"] for r in reports),
            max(r["wait_s"]["max"] for r in reports),
            max(r["max_wait_violations"] for r in reports),
            min(r["goodput"] for r in reports),
        )
        return replace(trial, lacks=_lacks(trial, self._target))

    def _answer(self, gpus: int | None, reason: str) -> Answer:
        return Answer(self._kind, gpus, tuple(self._trials[n] for n in sorted(self._trials)), reason)


def _lacks(trial: Trial, target: Target) -> tuple[str, ...]:
    lacks = []
    if trial.misses > target.misses:
        lacks.append(f"{trial.misses:.1%} of the deadlines missed")
    if target.p95_s is not None and trial.p95_s > target.p95_s:
        lacks.append(f"p95 wait {trial.p95_s:,.0f} s")
    if target.p99_s is not None and trial.p99_s > target.p99_s:
        lacks.append(f"p99 wait {trial.p99_s:,.0f} s")
    if target.bound and trial.over_bound:
        lacks.append(f"{trial.over_bound} waits over the bound")
    return tuple(lacks)


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _check(target: Target, max_gpus: int) -> None:
    if not 0 <= target.misses <= 1:
        raise UsageError(f"misses is {target.misses!r}.", remedy="Give a part of the deadlines, such as 1% or 0.01.")
    for name, value in (("p95", target.p95_s), ("p99", target.p99_s)):
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{name} is {value!r}.", remedy="Give model seconds above zero, such as 60 or 2m.")
    if not 1 <= max_gpus <= 1000:
        raise UsageError(f"max_gpus is {max_gpus}.", remedy="Choose 1 to 1000.")
