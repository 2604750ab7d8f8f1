"""`hotset trace`: what happened on GPUs, from the simulator or from a model server's log."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hotset.cli.output import AsJson, note, print_json

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="A trace; of several GPUs: a file of each.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Traces of what happened on GPUs: check.")
    group.command("check")(check)
    app.add_typer(group, name="trace")


def check(
    files: Files,
    fleet: Annotated[Path | None, typer.Option(help="Fleet file; without it the classic 4 GB GPU.")] = None,
    unlimited: Annotated[bool, typer.Option("--unlimited", help="Do not count VRAM (policy unlimited).")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that a trace could have happened: VRAM, slots, residency, one load at a time, each job started once.

    Traces come from `hotset simulate --trace` and from model servers (`hotset serve --log`). Exit status 1: it could
    not have happened.

    \b
    Example:  hotset simulate --jobs jobs.jsonl --trace trace.jsonl; hotset trace check trace.jsonl
              hotset trace check gpu0.jsonl gpu1.jsonl --fleet fleet.yaml --json
    """
    from hotset.cli.fleet import the_fleet
    from hotset.lab import check_trace, read_traces
    from hotset.settings import load_settings

    report = check_trace(read_traces(files), the_fleet(load_settings(fleet=fleet)), unlimited=unlimited)
    if as_json:
        print_json({"valid": report.valid, **asdict(report)})
    else:
        for problem in report.problems:
            at = "" if problem.t is None else f" ({problem.t:g} s)"
            note(f"event {problem.event}{at}: {problem.what}")
        counts = f"{report.events} events, {report.jobs} jobs, {report.starts} starts, {report.loads} loads"
        verdict = "valid" if report.valid else f"{report.violations} violations"
        typer.echo(f"{counts}, {report.unfinished} unfinished: {verdict}")
    if not report.valid:
        raise typer.Exit(1)
