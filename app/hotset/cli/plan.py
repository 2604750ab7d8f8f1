"""`hotset plan`: how many GPUs of which kind for a load and its deadlines; or what a load can be traded for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hotset.cli.output import SIMULATED, AsJson, note, print_json, seconds, table
from hotset.cli.workload import Mix, mix_of

if TYPE_CHECKING:
    from hotset.fleet import Fleet
    from hotset.lab.planning import Answer, Trial
    from hotset.lab.plots import Point
    from hotset.simulator import SimJob
    from hotset.simulator.workloads import Kind, Workload


def add_to(app: typer.Typer) -> None:
    app.command(short_help="How many GPUs does this load need?")(plan)


def plan(
    fleet: Annotated[Path | None, typer.Option(help="Fleet file; without it the classic 4 GB GPU.")] = None,
    jobs: Annotated[Path | None, typer.Option(help="Jobs file; - is standard input. Or let a load be drawn:")] = None,
    load: Annotated[
        float | None, typer.Option(min=0, help="Draw this load: work ÷ what the fleet as it is does without swaps.")
    ] = None,
    kind: Annotated[str, typer.Option(help="... of this kind: poisson, bursty, flood ...")] = "poisson",
    mix: Mix = None,
    hours: Annotated[float, typer.Option(min=0.1, max=8760, help="... for so many model hours.")] = 2.0,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="... so often; the worst draw counts.")] = 3,
    misses: Annotated[str, typer.Option(help="At most this part of the deadlines missed.")] = "1%",
    p95: Annotated[str | None, typer.Option(help="95 % of the waits at most so long (60, 2m).")] = None,
    p99: Annotated[str | None, typer.Option(help="99 % of the waits at most so long.")] = None,
    max_gpus: Annotated[int, typer.Option(min=1, max=1000, help="Look no further.")] = 64,
    kinds: Annotated[
        Path | None, typer.Option(help="YAML list of GPUs that can be had: name, vram_mb, slots, speed, cost_per_h.")
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="Keep the fleet's GPUs and say how many more.")] = False,
    objective: Annotated[str | None, typer.Option(help="throughput, balanced or deadlines.")] = None,
    frontier: Annotated[
        bool, typer.Option("--frontier", help="On the fleet as it is: missed deadlines against throughput.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Of --frontier: draw it into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find by simulation the fewest GPUs, of each kind, that a load and its deadlines need.

    \b
    Example:  hotset plan --load 3 --misses 1% --p95 60
              hotset plan --jobs jobs.jsonl --kinds kinds.yaml --add
              hotset plan --load 0.8 --frontier --plot frontier.svg
    """
    from hotset.cli.fleet import the_fleet
    from hotset.errors import UsageError
    from hotset.scheduling import OBJECTIVES
    from hotset.settings import load_settings

    settings = load_settings(fleet=fleet, objective=objective)
    chosen = the_fleet(settings)
    if (jobs is None) == (load is None):
        raise UsageError("Say which load: a jobs file or a load to draw.", remedy="Give --jobs FILE or --load 0.7.")
    if plot is not None and not frontier:
        raise UsageError("--plot draws the frontier.", remedy="Add --frontier.")
    if settings.objective not in OBJECTIVES:
        raise UsageError(f"There is no objective {settings.objective!r}.", remedy=f"Choose of {', '.join(OBJECTIVES)}.")
    loads = _loads(chosen, jobs, load, kind, mix, hours, seeds)
    if frontier:
        _frontier(chosen, tuple(loads[0]()), plot, as_json=as_json)
        return
    from hotset.lab import planning

    found = planning.plan(
        chosen,
        loads,
        planning.read_kinds(kinds) if kinds is not None else planning.kinds_of(chosen),
        planning.Target(_part(misses), _seconds(p95, "--p95"), _seconds(p99, "--p99")),
        max_gpus=max_gpus,
        beside=add,
        objective=settings.objective,
        progress=note,
    )
    if as_json:
        print_json({"kinds": [_as_object(answer) for answer in found], "cheapest": _cheapest(found)})
    else:
        typer.echo(_page(found, add))
    if all(answer.gpus is None for answer in found):
        raise typer.Exit(1)


def _loads(
    fleet: Fleet, jobs: Path | None, load: float | None, kind: str, mix: str | None, hours: float, seeds: int
) -> list[Callable[[], Iterable[SimJob]]]:
    from hotset.cli.simulate import read_workload
    from hotset.simulator.workloads import Workload, capacity, draw_jobs, job_shares

    if jobs is not None:
        workload = read_workload(jobs, fleet)
        return [lambda: workload]
    first = Workload(cast("Kind", kind), load or 0.0, mix=mix_of(mix, fleet, 1))
    draw_jobs(fleet, first)  # complains before a long run
    # As long a time at every load: a short one would be over before its deadlines are missed.
    count = max(1, round(first.load * capacity(fleet, job_shares(fleet, first)) * hours * 3600))
    drawn = [replace(first, jobs=count, seed=seed) for seed in range(1, seeds + 1)]
    return [partial(_drawn, fleet, one) for one in drawn]


def _drawn(fleet: Fleet, workload: Workload) -> Iterable[SimJob]:
    from hotset.simulator.workloads import draw_jobs

    return draw_jobs(fleet, workload)


def _frontier(fleet: Fleet, jobs: Sequence[SimJob], plot: Path | None, *, as_json: bool) -> None:
    from hotset.lab.planning import frontier
    from hotset.lab.plots import check_plot, plot_frontier

    if plot is not None:
        check_plot(plot)
    points, reports = frontier(fleet, jobs, lambda name: note(f"Simulating {name} ..."))
    if plot is not None:
        plot_frontier(points, plot, f"{len(jobs):,} jobs: missed deadlines against throughput")
        note(f"The picture is in {plot}.")
    if as_json:
        print_json({"points": [asdict(point) for point in points], "reports": reports})
    else:
        typer.echo(_points(points, reports))


def _points(points: Sequence[Point], reports: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for point in points:
        report = reports[point.name]
        waits = [seconds(report["wait_s"][figure]) for figure in ("mean", "p95", "p99")]
        name = f"hotset, {point.name}" if point.line else point.name
        rows.append((name, f"{100 * point.missed:.1f}", f"{point.throughput:.3f}", report["swaps"], *waits))
    head = ("", "missed %", "throughput ÷ unlimited", "swaps", "wait mean", "p95", "p99")
    return f"{SIMULATED}: waits in model seconds\n\n{table(head, rows)}"


def _part(text: str) -> float:
    """`1%` or `0.01`."""
    from hotset.errors import UsageError

    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise UsageError(f"--misses {text!r} is not a part.", remedy="Write it as 1% or 0.01.") from None


def _seconds(text: str | None, option: str) -> float | None:
    from hotset.jobs.durations import parse_duration

    return None if text is None else parse_duration(text, option)


def _cheapest(found: Sequence[Answer]) -> str | None:
    priced = [(answer.cost_per_h, answer.kind.gpu.name) for answer in found if answer.cost_per_h is not None]
    return min(priced)[1] if priced else None


def _page(found: Sequence[Answer], beside: bool) -> str:
    cheapest = _cheapest(found)
    rows = []
    for answer in found:
        gpu = answer.kind.gpu
        best = next((t for t in answer.trials if t.gpus == answer.gpus), None)
        cost = None if answer.cost_per_h is None else f"{answer.cost_per_h:.2f}"
        mark = " (cheapest)" if gpu.name == cheapest and len(found) > 1 else ""
        rows.append((f"{gpu.name}{mark}", f"{gpu.vram_mb:.0f}", gpu.slots, gpu.speed, answer.gpus, *_said(best), cost))
    head = (
        "kind",
        "VRAM MiB",
        "slots",
        "speed",
        "more" if beside else "GPUs",
        "missed %",
        "p95",
        "p99",
        "cost an hour",
    )
    lines = [f"{SIMULATED}: the fewest GPUs that meet the target; waits in model seconds", "", table(head, rows), ""]
    lines += [f"{answer.kind.gpu.name}: {_why(answer)}." for answer in found]
    return "\n".join(lines)


def _said(trial: Trial | None) -> tuple[str | None, ...]:
    if trial is None:
        return None, None, None
    return f"{100 * trial.misses:.1f}", seconds(trial.p95_s), seconds(trial.p99_s)


def _why(answer: Answer) -> str:
    return f"{answer.gpus} are enough; {answer.reason}" if answer.gpus is not None else f"none: {answer.reason}"


def _as_object(answer: Answer) -> dict[str, Any]:
    gpu = answer.kind.gpu
    return {
        "kind": gpu.name,
        "vram_mb": gpu.vram_mb,
        "slots": gpu.slots,
        "speed": gpu.speed,
        "gpus": answer.gpus,
        "cost_per_h": answer.cost_per_h,
        "reason": answer.reason,
        "trials": [asdict(trial) for trial in answer.trials],
    }
