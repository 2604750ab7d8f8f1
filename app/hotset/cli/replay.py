"""`hotset replay`: what if, on what really happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotset.cli.output import AsJson, note, seconds

if TYPE_CHECKING:
    from hotset.fleet import Fleet
    from hotset.lab.replay import Exported
    from hotset.settings import Settings

Since = Annotated[str, typer.Option(help="Arrived since: 7d (ago), 12h, 2026-01-31T08:00Z.")]
Until = Annotated[str | None, typer.Option(help="Arrived before: as --since; without it until now.")]
Tenant = Annotated[str | None, typer.Option(help="Only of this tenant.")]
FleetFile = Annotated[Path | None, typer.Option(help="Fleet file; without it the settings'.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What if, on what really happened.")
    group.command("export", short_help="Write a jobs file.")(export)
    group.command("run", short_help="Simulate it under other policies, objectives, GPUs.")(run)
    app.add_typer(group, name="replay")


def export(
    since: Since = "7d",
    until: Until = None,
    tenant: Tenant = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The jobs file; - is standard output.")] = Path("-"),
    pseudonyms: Annotated[
        bool, typer.Option("--pseudonyms", help="Write neither agents' and tenants' names nor the jobs' ids.")
    ] = False,
    fleet: FleetFile = None,
) -> None:
    """Write the jobs that came in that time as a jobs file: when, to which queue, how long each truly ran. No prompt is
    in it. Jobs that never ran or have not ended are left out.

    \b
    Example:  hotset replay export --since 7d -o jobs.jsonl
              hotset simulate --jobs jobs.jsonl --policy all
    """
    from hotset.lab.replay import Exported

    chosen, settings = _chosen(fleet, None)
    counted = Exported()
    rows = _rows(settings, chosen, since, until, tenant, counted, pseudonyms=pseudonyms)
    if str(output) == "-":
        for row in rows:
            typer.echo(json.dumps(row))
    else:
        with output.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    _tell(counted)


def run(
    since: Since = "7d",
    until: Until = None,
    tenant: Tenant = None,
    policy: Annotated[str, typer.Option(help="As of `hotset simulate`: several with commas, or `all`.")] = "hotset",
    objective: Annotated[str | None, typer.Option(help="Of hotset: throughput, balanced or deadlines.")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, max=10_000, help="So many, like the fleet's in turn.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it into this file: .svg, .png or .html.")] = None,
    fleet: FleetFile = None,
    as_json: AsJson = False,
) -> None:
    """Simulate what really happened: would another policy, objective or number of GPUs have done better?

    \b
    Example:  hotset replay run --since 1d --policy all
              hotset replay run --since 7d --gpus 2 --objective deadlines
    """
    from hotset.cli.simulate import compare, jobs_of, policies
    from hotset.lab.replay import Exported
    from hotset.simulator import parse_jobs
    from hotset.simulator.fleets import with_gpus

    names = policies(policy)
    chosen, settings = _chosen(fleet, objective)
    counted = Exported()
    rows = _rows(settings, chosen, since, until, tenant, counted, pseudonyms=False)
    workload = parse_jobs((json.dumps(row) for row in rows), chosen, "history")
    _tell(counted)
    wanted = chosen if gpus is None else with_gpus(chosen, gpus)
    compare(jobs_of(wanted, workload), names, settings.objective, trace=None, plot=plot, as_json=as_json)


def _chosen(fleet: Path | None, objective: str | None) -> tuple[Fleet, Settings]:
    from hotset.cli.fleet import the_fleet
    from hotset.settings import load_settings

    settings = load_settings(fleet=fleet, objective=objective)
    return the_fleet(settings), settings


def _rows(
    settings: Settings,
    fleet: Fleet,
    since: str,
    until: str | None,
    tenant: str | None,
    counted: Exported,
    *,
    pseudonyms: bool,
) -> Iterator[dict[str, Any]]:
    from hotset.lab.replay import Pseudonyms, job_rows
    from hotset.store import make_engine
    from hotset.store.history import read_history

    now = datetime.now(UTC)
    begin, end = _time(since, "--since", now), now if until is None else _time(until, "--until", now)
    engine = make_engine(settings.database_url.get_secret_value(), application="hotset replay")
    try:
        past = read_history(engine, begin, end, scale=settings.scale, tenant=tenant)
        yield from job_rows(past, fleet, counted, Pseudonyms() if pseudonyms else None)
    finally:
        engine.dispose()


def _time(text: str, option: str, now: datetime) -> datetime:
    """So long ago, or ISO 8601 (UTC unless it says otherwise)."""
    from hotset.errors import InvalidJob, UsageError
    from hotset.jobs.durations import parse_duration

    try:
        return now - timedelta(seconds=parse_duration(text, option))
    except InvalidJob:
        pass
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"{option}={text!r} is no time.", remedy="Give how long ago (12h, 7d) or 2026-01-31T08:00Z."
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _tell(counted: Exported) -> None:
    """How it really was."""
    from hotset.lab.figures import percentile

    if not counted.jobs:
        note("No job ran in that time.")
    else:
        mean, p95 = sum(counted.waits) / counted.jobs, percentile(counted.waits, 0.95)
        note(
            f"{counted.jobs:,} jobs ran, within {seconds(counted.last_s)} model seconds. As it was: wait mean "
            f"{seconds(mean)}, p95 {seconds(p95)}; {counted.missed:,} deadlines missed."
        )
    if counted.unknown_queue:
        note(f"{counted.unknown_queue:,} jobs of queues that the fleet file does not have were left out.")
