"""`hotset jobs`: list, show, watch, cancel, retry; one, several, or all that match."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotset.cli.dead import dead
from hotset.cli.output import SIMULATED, AsJson, note, print_json, seconds, table
from hotset.cli.selecting import (
    Agent,
    ErrorKind,
    JobIds,
    Limit,
    Metadata,
    OneTenant,
    Queue,
    Since,
    States,
    Tenant,
    Until,
    Yes,
    as_object,
    check_agent,
    confirm_jobs,
    counting,
    filter_of,
    ids_or_filters,
    retried,
    shown_time,
)

if TYPE_CHECKING:
    from hotset.client import Client, Eta
    from hotset.jobs import JobView

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
All = Annotated[bool, typer.Option("--all", help="All that match the filters, or all there are.")]

_REASON = "cancelled with `hotset jobs cancel`"
_LOOK_S = 0.5
#: Jobs that `watch` follows at once.
_WATCHED = 1000


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="The jobs: list, show, watch, cancel, retry, dead letters."
    )
    group.command("list")(list_jobs)
    group.command("show")(show)
    group.command("watch")(watch)
    group.command("cancel")(cancel)
    group.command("retry")(retry)
    group.command("dead")(dead)
    app.add_typer(group, name="jobs")


def list_jobs(
    state: States = None,
    agent: Agent = None,
    queue: Queue = None,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    error_kind: ErrorKind = None,
    metadata: Metadata = None,
    limit: Limit = 50,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="The next page: older than this job, the last of the page before.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs that match, without their answers (`hotset jobs show` has them).

    \b
    Example:  hotset jobs list --state failed --since 1h
              hotset jobs list --state open --queue qwen --metadata team=core
              hotset jobs list --limit 1000 --after ID --json
    """
    from dataclasses import replace

    from hotset.client import Client
    from hotset.jobs.filters import parse_id

    wanted = filter_of(state, agent, queue, tenant, since, until, error_kind, metadata)
    wanted = replace(wanted, limit=limit, after=None if after is None else parse_id(after))
    with Client() as client:
        check_agent(client, agent)
        found = client.jobs(wanted)
    if as_json:
        print_json([as_object(view) for view in found])
        return
    rows = [
        (
            v.id,
            v.state,
            v.agent,
            v.queue,
            v.priority.label,
            shown_time(v.arrived_at),
            seconds(v.wait_s),
            seconds(v.run_s),
        )
        for v in found
    ]
    typer.echo(table(("job", "state", "agent", "queue", "priority", "arrived", "wait s", "run s"), rows))
    if len(found) == limit:
        note(f"There may be more: --after {found[-1].id}")


def show(job_id: JobId, tenant: OneTenant = None, as_json: AsJson = False) -> None:
    """Show a job: its state, its result, what happened to it (the audit), and the flow that it is a step of.

    While it waits, when it will start: seconds from now (model seconds), the time of day, how many are before it.

    \b
    Example:  hotset jobs show 0198c0de-0000-7000-8000-000000000000
    """
    from dataclasses import asdict

    from hotset.client import Client

    with Client(tenant=tenant) as client:
        view = client.job(job_id).view
        audit = client.audit(view.id)
        tree = None if view.flow is None else client.flow(view.flow).tree()
        eta = _eta(client, view)
    if as_json:
        shown = None if eta is None else asdict(eta)
        print_json({**as_object(view), "eta": shown, "audit": [_entry(row) for row in audit]})
        return
    facts = {k: v for k, v in as_object(view).items() if k != "result" and v not in (None, {})}
    typer.echo(
        table(
            ("job", str(facts.pop("id"))),
            [(k, shown_time(v) if isinstance(v, datetime) else v) for k, v in facts.items()],
        )
    )
    typer.echo(
        "\n"
        + table(
            ("at", "action", "attempt", "by"),
            [(shown_time(a["at"]), a["action"], a["attempt"], a["actor"]) for a in audit],
        )
    )
    if eta is not None:
        when = f"in {seconds(eta.start_in_s)} s, at {shown_time(eta.at)}" if eta.at is not None else "unknown when"
        typer.echo(f"\nIt will start {when}: {eta.basis}")
    if tree is not None:
        typer.echo(f"\n{tree}")
    if view.result is not None:
        mark = f" ({SIMULATED}: the words mean nothing)" if view.result.simulated else ""
        typer.echo(f"\n{view.result.model}{mark}:\n{view.result.text}")


def watch(
    job_ids: JobIds = None,
    state: States = None,
    agent: Agent = None,
    queue: Queue = None,
    tenant: Tenant = None,
    metadata: Metadata = None,
    as_json: AsJson = False,
) -> None:
    """Follow jobs: a line at each change of state. With ids it ends when all of them have; else Ctrl-C ends it.

    With --json each line is one JSON object. Exit status 1 when a job named by its id did not succeed.

    \b
    Example:  hotset jobs watch 0198c0de-0000-7000-8000-000000000000
              hotset jobs watch --queue qwen --state open
    """
    from dataclasses import replace

    from hotset.client import Client
    from hotset.errors import UnknownJob
    from hotset.jobs import State
    from hotset.jobs.filters import JobFilter, parse_id

    ids = tuple(parse_id(i) for i in job_ids or ())
    wanted = filter_of(state, agent, queue, tenant, None, None, None, metadata)
    with Client() as client:
        check_agent(client, agent)
        wanted = replace(wanted, ids=ids, limit=len(ids) or _WATCHED)
        seen: dict[Any, tuple[State, int]] = {}
        while True:
            found = client.jobs(wanted)
            # One that no longer matches (--state open) is looked at once more: it ended.
            there = {v.id for v in found}
            left = tuple(i for i, (was, _) in seen.items() if not was.terminal and i not in there)
            found += client.jobs(JobFilter(ids=left, tenant=tenant, limit=len(left))) if left and not ids else []
            if ids and len(found) < len(set(ids)):
                raise UnknownJob(next(i for i in ids if i not in there))
            for view in reversed(found):
                if seen.get(view.id) != (view.state, view.attempt):
                    seen[view.id] = (view.state, view.attempt)
                    _say_change(view, as_json=as_json)
            if ids and all(view.state.terminal for view in found):
                break
            time.sleep(_LOOK_S)
    if any(view.state is not State.SUCCEEDED for view in found):
        raise typer.Exit(1)


def cancel(
    job_ids: JobIds = None,
    every: All = False,
    state: States = None,
    agent: Agent = None,
    queue: Queue = None,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    metadata: Metadata = None,
    reason: Annotated[str, typer.Option(help="Kept in the audit.")] = _REASON,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Cancel jobs, waiting or running: those named, or all that match the filters.

    Of many it asks first, with their count. Exit status 1 if one that was named had ended already.

    \b
    Example:  hotset jobs cancel 0198c0de-0000-7000-8000-000000000000
              hotset jobs cancel --all --queue qwen
              hotset jobs cancel --metadata team=core --since 1h --yes
    """
    from hotset.client import Client
    from hotset.jobs.filters import EVERY_TENANT

    wanted = filter_of(state, agent, queue, tenant, since, until, None, metadata)
    ids_or_filters(job_ids, every, wanted, "cancel")
    with Client(tenant=None if tenant == EVERY_TENANT else tenant) as client:
        check_agent(client, agent)
        if job_ids:
            _cancel_named(client, job_ids, reason, as_json=as_json)
            return
        confirm_jobs("cancel", client.count_open(wanted), yes=yes)
        with counting("Cancelled") as progress:
            ended, asked = client.cancel_all(wanted, reason=reason, progress=progress)
    if as_json:
        print_json({"cancelled": ended, "asked": asked})
    else:
        running = f" {asked} are running; their workers break them off." if asked else ""
        note(f"{ended} jobs are cancelled.{running}")


def retry(
    job_ids: JobIds = None,
    every: All = False,
    state: States = None,
    agent: Agent = None,
    queue: Queue = None,
    tenant: OneTenant = None,
    since: Since = None,
    until: Until = None,
    error_kind: ErrorKind = None,
    metadata: Metadata = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Run jobs again that ended: those named, or all that match and did not succeed. Each becomes a new job.

    The new one names the old one (`replay_of`). With filters those that were retried before are left out, so the same
    call again doubles nothing.

    \b
    Example:  hotset jobs retry 0198c0de-0000-7000-8000-000000000000
              hotset jobs retry --all --state failed --since 1d
              hotset jobs retry --error-kind RunTimeout --yes --json
    """
    from hotset.client import Client
    from hotset.jobs.filters import parse_id

    wanted = filter_of(state, agent, queue, None, since, until, error_kind, metadata)
    ids_or_filters(job_ids, every, wanted, "retry")
    with Client(tenant=tenant) as client:
        check_agent(client, agent)
        retried(client, [parse_id(i) for i in job_ids or ()], wanted, yes=yes, as_json=as_json)


def _cancel_named(client: Client, job_ids: Sequence[str], reason: str, *, as_json: bool) -> None:
    jobs = [client.job(i) for i in job_ids]  # every name is looked up before any is cancelled
    done: list[dict[str, Any]] = []
    for job in jobs:
        changed = job.cancel(reason)
        status = job.status
        done.append({"id": job.id, "state": str(status), "changed": changed})
        if not changed:
            note(f"error: Job {job.id} has ended already: {status}.")
        elif not as_json:
            what = "is cancelled" if status.terminal else "is running; its worker breaks it off"
            note(f"Job {job.id} {what}.")
    if as_json:
        print_json(done)
    if not all(d["changed"] for d in done):
        raise typer.Exit(1)


def _say_change(view: JobView, *, as_json: bool) -> None:
    if as_json:
        print_json(as_object(view))
    else:
        after = f" after {seconds(view.run_s)} s" if view.state.terminal and view.run_s is not None else ""
        why = f": {view.error}" if view.error else ""
        attempt = f" (attempt {view.attempt})" if view.attempt > 1 else ""
        clock = datetime.now(UTC).strftime("%H:%M:%S")
        typer.echo(f"{clock}  {view.id}  {view.agent}  {view.state}{attempt}{after}{why}")
    sys.stdout.flush()


def _eta(client: Client, view: JobView) -> Eta | None:
    """Left out, with a note, while the broker is away: the job itself is in Postgres."""
    from hotset.errors import BrokerUnavailable

    try:
        return client.eta(view.id)
    except BrokerUnavailable as e:
        note(f"When it will start is not known: {e}")
        return None


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    return {k: row[k] for k in ("at", "action", "actor", "attempt", "detail")}
