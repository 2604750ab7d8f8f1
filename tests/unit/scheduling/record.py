"""Records decisions of simulated runs for `test_recorded.py`, in the format of a worker's decision log.

When a rule has been changed on purpose:  python tests/unit/scheduling/record.py
and read in the diff which decisions are others now. Kept is the first of each kind of answer (its reasons without
names and figures), so that few lines hold every rule that came up.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hotset.fleet import Fleet
from hotset.lab.schedule_cases import fleet_cases, regimes
from hotset.scheduling import Decision, Load, Objective, Options, Run, Snapshot, decide
from hotset.simulator import SimJob, live_policy, simulate
from hotset.simulator.workloads import Workload, draw_jobs
from hotset_worker.decision_log import DecisionLog

FOLDER = Path(__file__).parent / "recorded"
_JOBS = 400

Case = tuple[Fleet, Sequence[SimJob], Objective]


def cases() -> Mapping[str, Sequence[Case]]:
    """By file: runs of which decisions are kept."""
    (_, classic), (_, apart) = regimes()
    rng = random.Random("recorded")
    mixed = [
        replace(job, priority=rng.choice(("low", "normal", "high", "urgent")), tenant=rng.choice("ab"))
        for job in _drawn(classic, "poisson", 0.9)
    ]
    backlog, loads = fleet_cases(1, 4, 3, 150)
    return {
        "balanced": [(apart, _drawn(apart, "bursty", 0.8), "balanced"), (classic, mixed, "balanced")],
        "deadlines": [(classic, _drawn(classic, "bursty", 0.8), "deadlines")],
        "throughput": [(apart, _drawn(apart, "poisson", 0.85), "throughput")],
        "several-gpus": [(case.fleet, tuple(case.jobs()), "balanced") for case in (backlog, *loads)],
    }


def _drawn(fleet: Fleet, kind: str, load: float) -> tuple[SimJob, ...]:
    return tuple(draw_jobs(fleet, Workload(kind, load, _JOBS, seed=1, agents=20)))  # type: ignore[arg-type]


def decided(case: Case) -> Iterator[tuple[Snapshot, Sequence[Decision]]]:
    """All that the policy saw and answered in that run."""
    fleet, jobs, objective = case
    seen: list[tuple[Snapshot, Sequence[Decision]]] = []

    def noted(snapshot: Snapshot, options: Options) -> tuple[Decision, ...]:
        answer = decide(snapshot, options)
        seen.append((snapshot, answer))
        return answer

    live_policy.decide = noted  # type: ignore[assignment]
    try:
        simulate(fleet, jobs, "hotset", objective)
    finally:
        live_policy.decide = decide
    yield from seen


def kind(snapshot: Snapshot, answer: Sequence[Decision]) -> tuple[str, ...]:
    """What was answered, without names and figures."""
    names = "|".join(map(re.escape, sorted([*snapshot.models, *(q.name for q in snapshot.queues)], key=len)[::-1]))
    words = [type(decision).__name__ for decision in answer]
    words += [re.sub(rf"{names}|gpu\d+|\d[\d.,]*", "_", decision.reason) for decision in answer]
    words += [decision.selector for decision in answer if isinstance(decision, Run)]
    words += [str(len(decision.victims)) for decision in answer if isinstance(decision, Load)]
    return tuple(words)


def record() -> None:
    for name, runs in cases().items():
        path = FOLDER / f"{name}.jsonl"
        path.unlink(missing_ok=True)
        kept: set[tuple[str, ...]] = set()
        for case in runs:
            for snapshot, answer in decided(case):
                what = kind(snapshot, answer)
                if what not in kept:
                    kept.add(what)
                    log = DecisionLog(path, snapshot.gpu.name, Options(case[2]))
                    log(snapshot, answer)
                    log.close()
        print(f"{path.name}: {len(kept)} decisions, {path.stat().st_size} bytes")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    record()
