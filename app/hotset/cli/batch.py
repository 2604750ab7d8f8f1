"""`hotset batch`: a file of jobs in, a file of results out; the same call again asks only for what is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hotset.cli.output import SIMULATED, AsJson, note, print_json, seconds

if TYPE_CHECKING:
    from hotset.cli.batching import Summary

Tenant = Annotated[str | None, typer.Option(help="Who the jobs belong to.")]


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Ask many: a file of jobs in, a file of results out.")(batch)


def batch(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines, a job each; - reads standard input.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Results are added here; - prints them.")] = Path("-"),
    window: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many open at a time.")] = 10_000,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without bad lines; each gets an error.")] = False,
    run: Annotated[str, typer.Option(help="Part of every line's key: another name asks everything anew.")] = "",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Submit every line of a file, wait, and write a result line for each job as it ends.

    A line is {"agent": ..., "prompt": ...}, with "id" (yours, comes back with the result), "key" (idempotency key) and
    the options of `hotset run` if you like: priority, deadline, queue_timeout, run_timeout, not_before, max_retries,
    options, metadata.

    Stopped at any point, by Ctrl-C or a power cut, the same call goes on: lines with a result in the output are left
    out, jobs accepted before are found again by their keys (from a line's content), so nothing is lost or asked twice.

    \b
    Example:  hotset batch jobs.jsonl -o results.jsonl
              hotset batch jobs.jsonl -o results.jsonl --skip-bad --window 500
              cat jobs.jsonl | hotset batch - > results.jsonl

    Exit status 1 if a job did not succeed, or a line was bad.
    """
    from hotset.cli.batching import Batch, display
    from hotset.client import Client
    from hotset.errors import UsageError

    to_stdout = str(output) == "-"
    if as_json and to_stdout:
        raise UsageError("--json prints a summary where the results go.", remedy="Give a file with -o.")
    with Client(tenant=tenant) as client:
        job = Batch(client, file, None if to_stdout else output, window=window, skip_bad=skip_bad, run=run)
        try:
            with job, display(job):
                summary = job.go()
        except KeyboardInterrupt:
            note("\nThe jobs go on. To go on waiting for them, give the same command again:")
            note(f"  hotset {' '.join(_quoted(sys.argv[1:]))}")
            raise
    if as_json:
        print_json(summary.as_object())
    note(_text(summary))
    if summary.failed or summary.bad:
        raise typer.Exit(1)


def _text(summary: Summary) -> str:
    parts = [f"{summary.lines:,} lines: {summary.succeeded:,} succeeded"]
    parts += [f"{summary.failed:,} failed"] if summary.failed else []
    parts += [f"{summary.bad:,} bad"] if summary.bad else []
    parts += [f"{summary.before:,} had their results before"] if summary.before else []
    text = ", ".join(parts) + f", in {seconds(summary.wall_s)} s."
    if summary.simulated:
        text += f" {SIMULATED}: the words mean nothing."
    if summary.swaps is not None and summary.fifo_swaps is not None:
        text += (
            f"\n{summary.swaps} swaps on the whole fleet meanwhile; first come, first served would have needed about "
            f"{summary.fifo_swaps} (simulated: the same order, the fleet file's sizes and run times)."
        )
    return text


def _quoted(words: list[str]) -> list[str]:
    import shlex

    return [shlex.quote(word) for word in words]
