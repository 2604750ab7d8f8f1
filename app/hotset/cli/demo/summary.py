"""What the demo showed: outcomes, swaps and waits, beside simple policies on the very same arrivals."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from hotset.cli.demo.world import World
from hotset.cli.output import SIMULATED, seconds, table
from hotset.client import Job
from hotset.jobs import JobView, State
from hotset.simulator import SimJob, simulate

_BASELINES = ("fifo", "round-robin", "hot-first", "unlimited")


def summarise(world: World, jobs: Sequence[Job]) -> dict[str, Any]:
    """One object: see formats in docs; times are model seconds."""
    found = [job.view for job in jobs]
    audits = [[row["action"] for row in world.client.audit(job.id)] for job in jobs]
    outcomes = Counter(str(view.state) for view in found)
    once = all(v.state.terminal and a.count(str(v.state)) == 1 for v, a in zip(found, audits, strict=True))
    results = [v.result for v in found if v.result is not None]
    return {
        "jobs": len(found),
        "succeeded": outcomes[State.SUCCEEDED],
        "outcomes": dict(outcomes),
        "exactly_once": once and len(results) == outcomes[State.SUCCEEDED],
        "audit_complete": all({"accept", "claim"} <= set(a) for a in audits) and once,
        "swaps": _swaps(world),
        "wait_s": _figures([v.wait_s for v in found if v.wait_s is not None]),
        "queues": {
            queue: {"jobs": len(mine), "wait_s": _figures([v.wait_s for v in mine if v.wait_s is not None])}
            for queue in world.fleet.queues
            if (mine := [v for v in found if v.queue == queue])
        },
        "baselines": _baselines(world, found),
        "tokens": {
            "prompt": sum(r.usage.get("prompt_tokens", 0) for r in results),
            "output": sum(r.usage.get("output_tokens", 0) for r in results),
        },
        "makespan_s": round(_makespan(world, found), 3),
        "scale": world.scale,
        "simulated": world.simulated,
    }


def _swaps(world: World) -> int:
    """Loads on the model server's side; with a real Ollama, those that the owner had done."""
    if world.trace is None:
        gpu = world.gpu()
        return gpu.swaps if gpu else 0
    return sum(json.loads(line)["event"] == "load" for line in world.trace.read_text("utf-8").splitlines())


def _baselines(world: World, views: Sequence[JobView]) -> dict[str, Any]:
    """The same arrivals and the run times that were seen, by simple policies in virtual time."""
    first = min(v.arrived_at for v in views)
    jobs = [
        SimJob(
            id=str(v.id),
            arrive_s=(v.arrived_at - first).total_seconds() / world.scale,
            queue=v.queue,
            run_s=max(v.run_s or 0.0, 1e-3),
            deadline_s=(v.deadline_at - v.arrived_at).total_seconds() / world.scale,
            agent=v.agent,
        )
        for v in sorted(views, key=lambda v: (v.arrived_at, UUID(str(v.id))))
    ]
    found: dict[str, Any] = {}
    for policy in _BASELINES:
        report = simulate(world.fleet, jobs, policy).report()  # type: ignore[arg-type]  # names of Policy
        found[policy] = {
            "swaps": report["swaps"],
            "makespan_s": report["makespan_s"],
            "wait_s": report["wait_s"],
            "queues": {name: {"wait_s": queue["wait_s"]} for name, queue in report["queues"].items()},
        }
    return found


def _makespan(world: World, views: Sequence[JobView]) -> float:
    ended = [v.finished_at for v in views if v.finished_at is not None]
    return (max(ended) - min(v.arrived_at for v in views)).total_seconds() / world.scale if ended else 0.0


def _figures(waits: Sequence[float]) -> dict[str, float]:
    ordered = sorted(waits)
    if not ordered:
        return {"mean": 0.0, "p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}

    def at(part: float) -> float:
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]

    figures = {"mean": sum(ordered) / len(ordered), "p50": at(0.5), "p95": at(0.95), "p99": at(0.99)}
    return {name: round(value, 3) for name, value in {**figures, "max": ordered[-1]}.items()}


def as_text(summary: dict[str, Any]) -> str:
    """For people."""
    queues = list(summary["queues"])
    arms = {"hotset (live)": summary} | {f"{name} (simulated)": arm for name, arm in summary["baselines"].items()}
    rows = []
    for name, arm in arms.items():
        waits = [seconds(arm["queues"][queue]["wait_s"]["mean"]) for queue in queues if queue in arm["queues"]]
        ends = (arm["wait_s"]["p95"], arm["wait_s"]["max"], arm["makespan_s"])
        rows.append([name, arm["swaps"], *waits, *map(seconds, ends)])
    outcomes = ", ".join(f"{count} {state}" for state, count in summary["outcomes"].items())
    kind = f" on a {SIMULATED} GPU (the words mean nothing)" if summary["simulated"] else ""
    once = "each exactly once" if summary["exactly_once"] else "NOT each exactly once"
    audit = "complete" if summary["audit_complete"] else "INCOMPLETE"
    head = [
        "policy",
        "swaps",
        *(f"{queue}: mean wait" for queue in queues),
        "p95 wait",
        "longest wait",
        "all done after",
    ]
    return "\n".join(
        [
            f"{summary['jobs']} jobs{kind}: {outcomes}; {once}; audit {audit}.",
            f"{summary['tokens']['prompt']:,} prompt tokens, {summary['tokens']['output']:,} generated.",
            "",
            table(head, rows),
            "(model seconds; the other policies ran the same arrivals and run times in the simulator)",
            "",
            "Next:  hotset up; hotset serve --simulate &  hotset worker &  hotset run system-architect 'Design ...'",
            "       hotset demo --rounds 3        hotset simulate --help        hotset bench --help",
        ]
    )
