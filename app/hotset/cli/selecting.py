"""What commands on many share: options, which jobs those mean, the question before they act, how jobs are shown."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotset.cli.completion import complete_agents, complete_queues, complete_states
from hotset.cli.output import note, print_json, table

if TYPE_CHECKING:
    from uuid import UUID

    from hotset.client import Client
    from hotset.jobs import JobView
    from hotset.jobs.filters import JobFilter

JobIds = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of jobs.")]
States = Annotated[
    str | None,
    typer.Option(
        "--state", help="In these states, with commas; or open, waiting, ended.", autocompletion=complete_states
    ),
]
Agent = Annotated[str | None, typer.Option("--agent", help="Of this agent.", autocompletion=complete_agents)]
Queue = Annotated[str | None, typer.Option("--queue", help="In this queue.", autocompletion=complete_queues)]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Of this tenant (default: yours); '*' is all of them.")]
OneTenant = Annotated[str | None, typer.Option("--tenant", help="Of this tenant (default: yours).")]
Since = Annotated[str | None, typer.Option("--since", help="Arrived since: 1h (ago), 2d, 2026-01-31T08:00Z.")]
Until = Annotated[str | None, typer.Option("--until", help="Arrived before: as --since.")]
ErrorKind = Annotated[str | None, typer.Option("--error-kind", help="Ended with this error: RunTimeout, Crashed ...")]
Metadata = Annotated[list[str] | None, typer.Option("--metadata", help="With this metadata, name=value; repeatable.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether to go on.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many, the newest.")]


def filter_of(
    state: str | None,
    agent: str | None,
    queue: str | None,
    tenant: str | None,
    since: str | None,
    until: str | None,
    error_kind: str | None,
    metadata: list[str] | None,
) -> JobFilter:
    from hotset.jobs.filters import JobFilter, parse_metadata, parse_states, parse_time

    now = datetime.now(UTC)
    return JobFilter(
        states=parse_states(state) if state else frozenset(),
        agent=agent,
        queue=queue,
        tenant=tenant,
        since=parse_time(since, "--since", now) if since else None,
        until=parse_time(until, "--until", now) if until else None,
        error_kind=error_kind,
        metadata=parse_metadata(metadata or ()),
    )


def check_agent(client: Client, agent: str | None) -> None:
    """A mistyped name would find nothing in silence."""
    if agent is not None:
        client.registry.get(agent)


def ids_or_filters(job_ids: Sequence[str] | None, every: bool, wanted: JobFilter, verb: str) -> None:
    from hotset.errors import UsageError

    if job_ids and (every or wanted.selective):
        raise UsageError("Ids and filters are given.", remedy="Give ids, or filters, not both.")
    if not job_ids and not every and not wanted.selective:
        raise UsageError(f"Which jobs shall I {verb}?", remedy="Give ids, or filters, or --all.")


def retried(client: Client, ids: Sequence[UUID], wanted: JobFilter, *, yes: bool, as_json: bool) -> None:
    """Retry the jobs named, or all that match, and say which new ones that made."""
    if ids:
        # Every name is looked up before any is retried.
        new = client.retry_named([client.get(i).id for i in ids])
    else:
        confirm_jobs("retry", client.count_retryable(wanted), yes=yes)
        with counting("Retried") as progress:
            new = client.retry_all(wanted, progress=progress)
    made = [{"id": job.id, "replay_of": str(job.view.replay_of)} for job in new]
    if as_json:
        print_json(made)
    elif made:
        typer.echo(table(("job", "replay of"), [(m["id"], m["replay_of"]) for m in made]))
    else:
        note("There is nothing to retry.")


def confirm(what: str, *, yes: bool) -> None:
    """Ask before something happens to many, or for good ("retry 3 jobs"). UsageError where nobody can answer."""
    from hotset.errors import UsageError

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"This would {what}.", remedy="Add --yes to do it without a question.")
    if not typer.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        note("Nothing was done.")
        raise typer.Exit(1)


def confirm_jobs(verb: str, count: int, *, yes: bool) -> None:
    """`confirm`, for so many jobs; for none there is nothing to ask."""
    if count:
        confirm(f"{verb} {count:,} job{'' if count == 1 else 's'}", yes=yes)


@contextlib.contextmanager
def counting(verb: str) -> Iterator[Callable[[int], None]]:
    """Says how far it is, on a terminal only, on a line that is gone at the end."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    yield lambda done: typer.echo(f"\r{verb} {done:,} ...", nl=False, err=True)
    typer.echo("\r\x1b[2K", nl=False, err=True)


def as_object(view: JobView) -> dict[str, Any]:
    """A job as JSON shows it: names, ids and states as texts."""
    from dataclasses import asdict

    return {**asdict(view), "id": str(view.id), "priority": view.priority.label, "state": str(view.state)}


def shown_time(value: datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S")
