"""`hotset jobs`: list, show, cancel."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotset.cli.output import SIMULATED, AsJson, note, print_json, seconds, table

if TYPE_CHECKING:
    from hotset.jobs import JobView

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
_REASON = "cancelled with `hotset jobs cancel`"


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The jobs: list, show, cancel.")
    group.command("list")(list_jobs)
    group.command("show")(show)
    group.command("cancel")(cancel)
    app.add_typer(group, name="jobs")


def list_jobs(
    state: Annotated[
        str | None, typer.Option(help="Only in this state: queued, running, succeeded, failed ...")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Only of this agent.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs of your tenant.

    \b
    Example:  hotset jobs list --state failed --limit 10
    """
    from hotset.client import Client

    with Client() as client:
        if agent is not None:
            client.registry.get(agent)
        found = client.jobs(state=state, agent=agent, limit=limit)
    if as_json:
        print_json([as_object(view) for view in found])
        return
    rows = [
        (v.id, v.state, v.agent, v.queue, v.priority.label, _time(v.arrived_at), seconds(v.wait_s), seconds(v.run_s))
        for v in found
    ]
    typer.echo(table(("job", "state", "agent", "queue", "priority", "arrived", "wait s", "run s"), rows))


def show(job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job: its state, its result, and what happened to it (the audit).

    \b
    Example:  hotset jobs show 0198c0de-0000-7000-8000-000000000000
    """
    from hotset.client import Client

    with Client() as client:
        view = client.job(job_id).view
        audit = client.audit(view.id)
    if as_json:
        print_json({**as_object(view), "audit": [_entry(row) for row in audit]})
        return
    facts = {k: v for k, v in as_object(view).items() if k != "result" and v not in (None, {})}
    typer.echo(
        table(
            ("job", str(facts.pop("id"))), [(k, _time(v) if isinstance(v, datetime) else v) for k, v in facts.items()]
        )
    )
    typer.echo(
        "\n"
        + table(
            ("at", "action", "attempt", "by"), [(_time(a["at"]), a["action"], a["attempt"], a["actor"]) for a in audit]
        )
    )
    if view.result is not None:
        mark = f" ({SIMULATED}: the words mean nothing)" if view.result.simulated else ""
        typer.echo(f"\n{view.result.model}{mark}:\n{view.result.text}")


def cancel(job_id: JobId, reason: Annotated[str, typer.Option(help="Kept in the audit.")] = _REASON) -> None:
    """Cancel a job, waiting or running. Exit status 1 if it has ended already.

    \b
    Example:  hotset jobs cancel 0198c0de-0000-7000-8000-000000000000
    """
    from hotset.client import Client

    with Client() as client:
        job = client.job(job_id)
        if not job.cancel(reason):
            note(f"error: Job {job.id} has ended already: {job.status}.")
            raise typer.Exit(1)
        status = job.status
    note(f"Job {job.id} is cancelled." if status.terminal else f"Job {job.id} is running; its worker breaks it off.")


def as_object(view: JobView) -> dict[str, Any]:
    """A job as JSON shows it: names, ids and states as texts."""
    from dataclasses import asdict

    return {**asdict(view), "id": str(view.id), "priority": view.priority.label, "state": str(view.state)}


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    return {k: row[k] for k in ("at", "action", "actor", "attempt", "detail")}


def _time(value: datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S")
