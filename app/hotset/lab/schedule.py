"""How good the scheduling is, as figures with a bar for each: `hotset bench schedule`.

    single    one 4 GB GPU under twelve loads, against hot-first, by objective
    backlog   everything waits at the start; swaps; the bound on waiting
    exact     a handful of jobs, against the cheapest schedule there is
    fleet     4, 16 and 100 GPUs, against static partition and uncoordinated hot-first
    cost      what a decision and a simulated job take, beside this machine's own speed
    closed    131 agents that wait for their answers, and a burst of 1,000: does each get its share?
    million   a million jobs on 1000 GPUs, which takes minutes: only where it is asked for by name

Loads, mixes and fleets are drawn anew for every seed. Each bar has the median and the worst over the seeds, and every
case in which hotset does worse than what it is compared with is listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

from hotset.errors import UsageError, did_you_mean
from hotset.lab import schedule_cost
from hotset.lab.figures import rounded
from hotset.lab.machine import describe_host
from hotset.lab.schedule_cases import (
    SHAPES,
    Case,
    backlog_cases,
    exact_cases,
    fleet_cases,
    geometric,
    kinds_cases,
    single_cases,
)
from hotset.scheduling import OBJECTIVES, Objective
from hotset.simulator import POLICIES, Policy, Result, simulate
from hotset.simulator.exact import cost_s, optimum

DESCRIPTION = "the scheduler against simple policies, the optimum and unlimited VRAM, in virtual time"
#: Up to this part of the bound the reference's longest wait leaves room to hold it.
_ROOM = 0.5
_EXACT_CASES, _ARRIVING_CASES = 20, 8
_RIVAL_AND_REFERENCE: tuple[Policy, ...] = ("hot-first", "unlimited")
_OURS_AND_RIVAL: tuple[Policy, ...] = ("hotset", "hot-first")
_KEPT = ("deadline_missed", "swaps", "throughput_per_h", "goodput", "max_wait_violations")

Progress = Callable[[str], None]


@dataclass(slots=True)
class Bar:
    """What must hold; `values`: one for each seed. Seconds, parts or times, as the name says."""

    part: str
    name: str
    target: float
    at_most: bool = True
    values: list[float] = field(default_factory=list)

    @property
    def worst(self) -> float:
        return max(self.values) if self.at_most else min(self.values)

    def row(self) -> dict[str, Any]:
        middle = median(self.values)
        return {
            "part": self.part,
            "bar": self.name,
            "target": self.target,
            "at_most": self.at_most,
            "median": rounded(middle),
            "worst": rounded(self.worst),
            "met": self._holds(middle),
            "met_by_worst": self._holds(self.worst),
        }

    def _holds(self, value: float) -> bool:
        return value <= self.target if self.at_most else value >= self.target


class Part:
    """The bars, the losses and the arms' figures of one part, as they come in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bars: dict[str, Bar] = {}
        self.losses: list[dict[str, Any]] = []
        self.cases: list[dict[str, Any]] = []
        self.arms: dict[str, dict[str, list[float]]] = {}
        self.information: dict[str, Any] = {}

    def bar(self, name: str, value: float, target: float, *, at_most: bool = True) -> None:
        self.bars.setdefault(name, Bar(self.name, name, target, at_most)).values.append(value)

    def arm(self, name: str, **figures: float) -> None:
        for figure, value in figures.items():
            self.arms.setdefault(name, {}).setdefault(figure, []).append(value)

    def loss(self, seed: int, case: str, figure: str, ours: float, theirs: float, against: str) -> None:
        row = {"seed": seed, "case": case, "figure": figure, "hotset": rounded(ours), against: rounded(theirs)}
        self.losses.append(row)


def run_schedule(
    parts: Sequence[str] = (), *, seeds: int = 5, jobs: int = 1500, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """The object of `hotset bench schedule --json`. No parts: all but `million`. `jobs`: of a case of one GPU.

    UsageError for an unknown part, fewer than 1 seed, or fewer than 10 jobs.
    """
    for name in parts:
        if name not in PARTS:
            hint = did_you_mean(name, PARTS, "")
            known = f"Choose of {', '.join(PARTS)}."
            raise UsageError(
                f"There is no part {name!r}.", remedy=f"{hint if hint.startswith('Did') else ''} {known}".strip()
            )
    if seeds < 1 or jobs < 10:
        raise UsageError(f"{seeds} seeds of {jobs} jobs show nothing.", remedy="Give 1 seed and 10 jobs or more.")
    machine = {**describe_host(), "python_loops_per_s": rounded(schedule_cost.loops_per_s())}
    done: list[Part] = []
    for name in parts or [name for name in PARTS if name != "million"]:
        part = Part(name)
        for seed in range(1, seeds + 1):
            PARTS[name](part, seed, jobs, _at(f"{name}, seed {seed} of {seeds}", progress))
        done.append(part)
    return _report(done, seeds, jobs, machine)


def _at(where: str, progress: Progress) -> Progress:
    return lambda text: progress(f"{where}: {text}")


def _report(done: Sequence[Part], seeds: int, jobs: int, machine: Mapping[str, Any]) -> dict[str, Any]:
    arms: dict[str, dict[str, float]] = {}
    for part in done:
        for arm, figures in part.arms.items():
            for figure, values in figures.items():
                arms.setdefault(arm, {})[f"{part.name}_{figure}"] = rounded(median(values))
    ratios = {
        f"hotset/{arm}": {
            f: rounded(arms["hotset"][f] / value) for f, value in figures.items() if value and f in arms["hotset"]
        }
        for arm, figures in arms.items()
        if arm != "hotset" and "hotset" in arms
    }
    return {
        "bench": "schedule",
        "arms": arms,
        "ratios": {pair: figures for pair, figures in ratios.items() if figures},
        "runs": seeds,
        "jobs": jobs,
        "machine": machine,
        "bars": [bar.row() for part in done for bar in part.bars.values()],
        "losses": [{"part": part.name, **loss} for part in done for loss in part.losses],
        "parts": {part.name: {"cases": part.cases, **part.information} for part in done},
    }


# ---- one GPU -----------------------------------------------------------------------------------------------------


def _single(part: Part, seed: int, jobs: int, progress: Progress) -> None:
    """Bars of one 4 GB GPU, by objective, each against hot-first on the same jobs."""
    cases = single_cases(seed, jobs)
    runs = [_run(part, seed, case, progress) for case in cases]
    for objective in OBJECTIVES:
        ours = [run[objective] for run in runs]
        theirs = [run["hot-first"] for run in runs]
        full = [run["unlimited"] for run in runs]
        figures = {
            "misses": _sum(ours, "deadline_missed") / max(1.0, _sum(theirs, "deadline_missed")),
            "mean_wait": geometric(
                [_wait(o, "mean") / max(_wait(t, "mean"), 1e-3) for o, t in zip(ours, theirs, strict=True)]
            ),
            "p99_wait": geometric(
                [_wait(o, "p99") / max(_wait(t, "p99"), 1e-3) for o, t in zip(ours, theirs, strict=True)]
            ),
            "throughput": mean(o["throughput_per_h"] / f["throughput_per_h"] for o, f in zip(ours, full, strict=True)),
            "worst_case_misses": max(
                o["deadline_missed"] / max(1, t["deadline_missed"]) for o, t in zip(ours, theirs, strict=True)
            ),
        }
        for name, target, at_most in _SINGLE_BARS[objective]:
            part.bar(f"{objective}: {name}", figures[name], target, at_most=at_most)
        part.arm("hotset" if objective == "balanced" else f"hotset-{objective}", **_totals(ours))
    for arm in ("hot-first", "unlimited"):
        part.arm(arm, **_totals([run[arm] for run in runs]))
    _swaps_and_bound(part, runs, [case.fleet.max_wait_s for case in cases])


#: objective -> (figure, target, at most). Against hot-first, but for throughput, which is against unlimited VRAM.
_SINGLE_BARS: dict[Objective, tuple[tuple[str, float, bool], ...]] = {
    "throughput": (("misses", 1.0, True), ("throughput", 0.97, False)),
    "balanced": (
        ("misses", 0.72, True),
        ("p99_wait", 0.70, True),
        ("mean_wait", 0.85, True),
        ("throughput", 0.97, False),
        ("worst_case_misses", 1.05, True),
    ),
    "deadlines": (("misses", 0.62, True), ("throughput", 0.90, False)),
}


def _backlog(part: Part, seed: int, jobs: int, progress: Progress) -> None:
    """Backlogs for throughput; with the kinds of load that `single` leaves out, for swaps and the bound."""
    cases = backlog_cases(seed, jobs)
    runs = [_run(part, seed, case, progress, ("balanced",)) for case in cases]
    part.bar(
        "throughput ÷ unlimited",
        min(run["balanced"]["throughput_per_h"] / run["unlimited"]["throughput_per_h"] for run in runs),
        0.985,
        at_most=False,
    )
    for arm, name in (("hotset", "balanced"), ("hot-first", "hot-first"), ("unlimited", "unlimited")):
        part.arm(arm, **_totals([run[name] for run in runs]))
    others = kinds_cases(seed, jobs)
    runs += [_run(part, seed, case, progress, ("balanced",)) for case in others]
    _swaps_and_bound(part, runs, [case.fleet.max_wait_s for case in (*cases, *others)])


def _swaps_and_bound(part: Part, runs: Sequence[Mapping[str, Any]], bounds: Sequence[float]) -> None:
    """Swaps: at most 1.7 × hot-first's where that saves deadlines, else none more. Waits: within the bound wherever
    the reference's are within half of it."""
    allowed = 0.0
    for run in runs:
        ours, theirs = run["balanced"], run["hot-first"]
        fewer = ours["deadline_missed"] < theirs["deadline_missed"]
        allowed = max(allowed, ours["swaps"] / max(1, theirs["swaps"]) / (1.7 if fewer else 1.0))
    part.bar("swaps ÷ allowed, worst case", allowed, 1.0)
    over = sum(
        run["balanced"]["max_wait_violations"]
        for run, bound in zip(runs, bounds, strict=True)
        if _wait(run["unlimited"], "max") < _ROOM * bound
    )
    part.bar("waits over the bound where there is room", float(over), 0.0)


def _run(
    part: Part, seed: int, case: Case, progress: Progress, objectives: Sequence[Objective] = OBJECTIVES
) -> dict[str, Mapping[str, Any]]:
    """The reports of one case by objective and policy; losses to hot-first are noted."""
    progress(case.name)
    jobs = tuple(case.jobs())
    reports: dict[str, Mapping[str, Any]] = {}
    for objective in objectives:
        reports[objective] = simulate(case.fleet, jobs, "hotset", objective).report()
    for policy in _RIVAL_AND_REFERENCE:
        reports[policy] = simulate(case.fleet, jobs, policy).report()
    _note_losses(part, seed, case, reports["balanced"], reports["hot-first"], "hot-first")
    part.cases.append({"seed": seed, "case": case.name, **{name: _figures(report) for name, report in reports.items()}})
    return reports


def _note_losses(
    part: Part, seed: int, case: Case, ours: Mapping[str, Any], theirs: Mapping[str, Any], against: str
) -> None:
    for figure, mine, other in (
        ("deadlines missed", ours["deadline_missed"], theirs["deadline_missed"]),
        ("mean wait (s)", _wait(ours, "mean"), _wait(theirs, "mean")),
        ("p99 wait (s)", _wait(ours, "p99"), _wait(theirs, "p99")),
    ):
        if mine > other * 1.005:
            part.loss(seed, case.name, figure, mine, other, against)


# ---- the optimum ---------------------------------------------------------------------------------------------------


def _exact(part: Part, seed: int, jobs: int, progress: Progress) -> None:
    """Cost ÷ the cheapest schedule's: all jobs waiting at the start; beside it, as information, with arrivals."""
    ratios = _against_optimum(part, seed, exact_cases(seed, _EXACT_CASES), progress, "optimum")
    part.bar("cost ÷ optimum, median case", median(ratios), 1.10)
    part.bar("cost ÷ optimum, worst case", max(ratios), 1.5)
    bound = _against_optimum(
        part, seed, exact_cases(seed, _ARRIVING_CASES, arriving=True), progress, "clairvoyant", note=False
    )
    part.information.setdefault("cost_to_clairvoyant_with_arrivals", []).append(
        {"seed": seed, "median": rounded(median(bound)), "worst": rounded(max(bound))}
    )


def _against_optimum(
    part: Part, seed: int, cases: Sequence[Case], progress: Progress, against: str, *, note: bool = True
) -> list[float]:
    ratios = []
    for case in cases:
        progress(case.name)
        handful = tuple(case.jobs())
        best = optimum(case.fleet, handful)
        costs = {policy: _cost(simulate(case.fleet, handful, policy)) for policy in _OURS_AND_RIVAL}
        # Nothing beats it; where nothing has to wait, both cost nothing.
        ratios.append(
            costs["hotset"] / best.cost_s if best.cost_s > 0.5 else 1.0 if costs["hotset"] < 1.0 else costs["hotset"]
        )
        row = {"seed": seed, "case": case.name, against: rounded(best.cost_s)}
        part.cases.append(row | {policy: rounded(cost) for policy, cost in costs.items()})
        if note and ratios[-1] > 1.005:
            part.loss(seed, case.name, "cost", costs["hotset"], best.cost_s, against)
    return ratios


def _cost(result: Result) -> float:
    report = result.report()
    return cost_s(report["deadline_missed"], report["wait_s"]["mean"] * report["jobs"])


# ---- many GPUs -----------------------------------------------------------------------------------------------------


def _fleet(part: Part, seed: int, jobs: int, progress: Progress) -> None:
    rivals: list[Policy] = [policy for policy in POLICIES if policy in ("static", "hot-first")]
    for gpus, models in SHAPES:
        shape = f"{gpus} × {models}"
        backlog, loads = fleet_cases(seed, gpus, models, jobs)
        done = _policies(part, seed, backlog, ["hotset", "unlimited"], progress)
        part.bar(
            f"{shape}: backlog, throughput ÷ unlimited",
            done["hotset"]["throughput_per_h"] / done["unlimited"]["throughput_per_h"],
            0.97,
            at_most=False,
        )
        runs = [_policies(part, seed, case, ["hotset", *rivals, "unlimited"], progress) for case in loads]
        for case, done in zip(loads, runs, strict=True):
            for rival in rivals:
                _note_losses(part, seed, case, done["hotset"], done[rival], rival)
        part.bar(f"{shape}: misses ÷ the better rival's", _ratio(*_best(runs, rivals, _misses)), 0.8)
        part.bar(f"{shape}: p99 wait ÷ the better rival's", _ratio(*_best(runs, rivals, _p99)), 1.0)
        ours, theirs = _best(runs, rivals, lambda report: -float(report["throughput_per_h"]))
        part.bar(f"{shape}: throughput ÷ the better rival's", ours / theirs, 0.99, at_most=False)


def _best(
    runs: Sequence[Mapping[str, Mapping[str, Any]]], rivals: Sequence[str], figure: Callable[[Mapping[str, Any]], float]
) -> tuple[float, float]:
    """Ours and the least of a rival, each summed over the loads."""
    return sum(figure(run["hotset"]) for run in runs), min(sum(figure(run[rival]) for run in runs) for rival in rivals)


def _misses(report: Mapping[str, Any]) -> float:
    return float(report["deadline_missed"])


def _p99(report: Mapping[str, Any]) -> float:
    return _wait(report, "p99")


def _policies(
    part: Part, seed: int, case: Case, policies: Sequence[Policy], progress: Progress
) -> dict[str, Mapping[str, Any]]:
    jobs = tuple(case.jobs())
    reports: dict[str, Mapping[str, Any]] = {}
    for policy in policies:
        progress(f"{case.name}, {policy}")
        reports[policy] = simulate(case.fleet, jobs, policy).report()
        prefix = case.name.replace(" × ", "x").replace(" ", "_")
        part.arm(policy, **{f"{prefix}_{name}": value for name, value in _figures(reports[policy]).items()})
    part.cases.append({"seed": seed, "case": case.name, **{name: _figures(report) for name, report in reports.items()}})
    return reports


# ---- costs and fairness --------------------------------------------------------------------------------------------


def _costs(part: Part, seed: int, jobs: int, progress: Progress) -> None:
    _measured(part, schedule_cost.measure(seed, jobs, progress))


def _million(part: Part, seed: int, jobs: int, progress: Progress) -> None:
    _measured(part, schedule_cost.million(seed, jobs, progress))


def _measured(part: Part, figures: Iterable[schedule_cost.Measured]) -> None:
    for name, value, target, at_most in figures:
        part.bar(name, value, target, at_most=at_most)
        part.arm("hotset", **{name.replace(" ", "_"): value})


def _closed(part: Part, seed: int, jobs: int, progress: Progress) -> None:
    from hotset.lab.schedule_closed import burst, closed_loop

    progress("131 agents")
    figures = closed_loop(seed)
    progress("1,000 agents at once")
    figures |= burst(seed)
    part.bar("fewest answers of an agent", figures["fewest"], 30.0, at_most=False)
    part.bar("Jain fairness of the agents of a tier, least", figures["fairness"], 0.95, at_most=False)
    part.bar("Jain fairness in a burst, least", figures["burst_fairness"], 0.95, at_most=False)
    part.arm("hotset", **figures)


PARTS: Mapping[str, Callable[[Part, int, int, Progress], None]] = {
    "single": _single,
    "backlog": _backlog,
    "exact": _exact,
    "fleet": _fleet,
    "cost": _costs,
    "closed": _closed,
    "million": _million,
}


# ---- figures -------------------------------------------------------------------------------------------------------


def _figures(report: Mapping[str, Any]) -> dict[str, float]:
    """What is kept of a report."""
    kept = {name: rounded(report[name]) for name in _KEPT}
    return {**kept, **{f"wait_s_{name}": rounded(_wait(report, name)) for name in ("mean", "p95", "p99", "max")}}


def _totals(reports: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Over the cases of one seed: sums of counts, means of the rest."""
    rows = [_figures(report) for report in reports]
    counts = ("deadline_missed", "swaps", "max_wait_violations")
    return {name: (sum if name in counts else mean)(row[name] for row in rows) for name in rows[0]}


def _wait(report: Mapping[str, Any], figure: str) -> float:
    return float(report["wait_s"][figure])


def _sum(reports: Sequence[Mapping[str, Any]], figure: str) -> float:
    return float(sum(report[figure] for report in reports))


def _ratio(ours: float, theirs: float) -> float:
    """Where neither has any, nothing is lost; where only the rival has none, ours count as they are."""
    return ours / theirs if theirs > 0 else float(ours)


def worst_first(bars: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Bars that do not hold first."""
    yield from sorted(bars, key=lambda bar: (bar["met"], bar["met_by_worst"]))
