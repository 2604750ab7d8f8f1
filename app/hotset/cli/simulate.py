"""`hotset simulate`: a workload under a policy, on a virtual clock."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hotset.cli.output import SIMULATED, AsJson, note, print_json, seconds, table

if TYPE_CHECKING:
    from hotset.scheduling import Objective
    from hotset.simulator import Policy


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Run a workload in virtual time.")(simulate)


def simulate(
    jobs: Annotated[Path, typer.Option(help="Jobs file (JSON Lines): when each arrives, its queue, how long it runs.")],
    fleet: Annotated[Path | None, typer.Option(help="Fleet file; without it the classic 4 GB GPU.")] = None,
    policy: Annotated[str, typer.Option(help="hotset, fifo, round-robin, hot-first or unlimited.")] = "hotset",
    objective: Annotated[str | None, typer.Option(help="Of hotset: throughput, balanced or deadlines.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Write what happened to this file (JSON Lines).")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a jobs file on a fleet under a policy, in virtual time: swaps, waits, goodput. No server is needed.

    \b
    Example:  hotset simulate --fleet fleet.yaml --jobs jobs.jsonl
              hotset simulate --fleet fleet.yaml --jobs jobs.jsonl --policy fifo --json
    """
    from hotset.cli.fleet import the_fleet
    from hotset.settings import load_settings
    from hotset.simulator import read_jobs
    from hotset.simulator import simulate as run

    settings = load_settings(fleet=fleet, objective=objective)
    chosen = the_fleet(settings)
    workload = read_jobs(jobs, chosen)
    with _trace_to(trace) as record, _progress(len(workload)) as progress:
        # Unknown names of policy and objective are refused by the simulator, with the known ones.
        result = run(chosen, workload, cast("Policy", policy), cast("Objective", settings.objective), record, progress)
    report = result.report()
    if as_json:
        print_json(report)
    else:
        typer.echo(_page(report))


def _page(report: Mapping[str, Any]) -> str:
    head = (
        f"{SIMULATED}: {report['jobs']} jobs under {report['policy']} in {seconds(report['makespan_s'])} model seconds,"
        f" {report['throughput_per_h']:,.0f} an hour"
    )
    share = (
        f"goodput {report['goodput']:.1%} of the slots' time with work; loading {report['load_share']:.1%},"
        f" draining {report['drain_share']:.1%}"
    )
    swaps = (
        f"{report['swaps']} swaps ({report['swaps_per_1000']:.1f} per 1000 jobs), {report['deadline_missed']} deadlines"
        f" missed, {report['max_wait_violations']} waits over the bound"
    )
    rows = [
        (name, q["jobs"], *(seconds(q["wait_s"][f]) for f in ("mean", "p50", "p95", "max")), q["deadline_missed"])
        for name, q in {**report["queues"], "all": report}.items()
    ]
    return "\n".join(
        [head, share, swaps, "", table(("queue", "jobs", "wait mean", "p50", "p95", "max", "missed"), rows)]
    )


@contextlib.contextmanager
def _trace_to(path: Path | None) -> Iterator[Callable[[Mapping[str, object]], None] | None]:
    if path is None:
        yield None
        return
    with path.open("w", encoding="utf-8") as file:
        yield lambda event: _write_line(file.write, event)


def _write_line(write: Callable[[str], object], event: Mapping[str, object]) -> None:
    write(json.dumps(event) + "\n")


@contextlib.contextmanager
def _progress(jobs: int) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal; a line at the start elsewhere, since a simulation is quick."""
    if not sys.stderr.isatty():
        note(f"Simulating {jobs} jobs ...")
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Simulating", total=jobs)
        yield lambda done, total: bar.update(task, completed=done, total=total)
