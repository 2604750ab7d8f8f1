"""`hotset retain`: remove now what retention would remove in its own time."""

from __future__ import annotations

import getpass
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from hotset.cli.output import AsJson, note, print_json, table

if TYPE_CHECKING:
    from hotset.store.retention import Removed


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Remove old jobs, results and audit.")(retain)


def retain(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    keep_jobs_days: Annotated[
        int | None, typer.Option(min=0, help="Instead of the setting keep_jobs_days; 0: keep all.")
    ] = None,
    keep_audit_months: Annotated[
        int | None, typer.Option(min=0, help="Instead of the setting keep_audit_months; 0: keep all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove finished jobs with their results, and months of the audit, that are older than the settings keep them.

    Workers do the same by themselves, a batch every ten seconds. What is waiting or running is never touched, and a job
    that a kept job was replayed from, or whose flow goes on, stays. Look first: --dry-run.

    \b
    Example:  hotset retain --dry-run
              hotset retain --keep-jobs-days 7
    """
    from hotset.settings import load_settings
    from hotset.store import make_engine
    from hotset.store.retention import preview
    from hotset.store.retention import retain as remove

    settings = load_settings(keep_jobs_days=keep_jobs_days, keep_audit_months=keep_audit_months)
    days, months = settings.keep_jobs_days, settings.keep_audit_months
    engine = make_engine(settings.database_url.get_secret_value(), application="hotset-retain", pool_size=1)
    with ExitStack() as last:
        last.callback(engine.dispose)
        if dry_run:
            removed = preview(engine, keep_days=days, keep_months=months)
        else:
            actor = f"{getpass.getuser()} (hotset retain)"
            removed = remove(engine, actor=actor, keep_days=days, keep_months=months, progress=_say)
    if as_json:
        print_json({**_as_object(removed), "dry_run": dry_run, "keep_jobs_days": days, "keep_audit_months": months})
        return
    head = "would go" if dry_run else "removed"
    kept = "kept for ever"
    rows = [
        ("jobs", removed.jobs, f"finished more than {days} days ago" if days else kept),
        ("results", removed.results, "with them"),
        ("flows", removed.flows, "all of whose jobs go"),
        ("audit entries", sum(n for _, n in removed.months), f"older than {months} whole months" if months else kept),
    ]
    typer.echo(table(("what", head, "which"), rows))
    for name, entries in removed.months:
        typer.echo(f"  {name}: {entries}")


def _as_object(removed: Removed) -> dict[str, object]:
    return {"jobs": removed.jobs, "results": removed.results, "flows": removed.flows, "months": dict(removed.months)}


def _say(jobs: int) -> None:
    note(f"{jobs} jobs removed ...")
