"""`hotset audit`: who did what, when."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotset.cli import audit_seals
from hotset.cli.output import AsJson, note, print_json, table
from hotset.cli.selecting import Tenant

if TYPE_CHECKING:
    from hotset.jobs.filters import AuditFilter

Job = Annotated[str | None, typer.Option("--job", metavar="ID", help="Of this job.")]
Actor = Annotated[str | None, typer.Option("--actor", help="Done by this process: user@host:pid, gpu0@host:pid.")]
Action = Annotated[str | None, typer.Option("--action", help="accept, claim, succeeded, failed, cancelled, pause ...")]

_LOOK_S = 0.5


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The audit: who did what, when; proofs.")
    group.command("list")(list_audit)
    group.command("tail")(tail)
    audit_seals.add_to(group)
    app.add_typer(group, name="audit")


def list_audit(
    tenant: Tenant = None,
    job: Job = None,
    actor: Actor = None,
    action: Action = None,
    since: Annotated[str | None, typer.Option(help="Since: 1h (ago), 2d, 2026-01-31T08:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Before: as --since.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List what was done, oldest first: the newest rows that match.

    \b
    Example:  hotset audit list --action cancelled --since 1d
              hotset audit list --job 0198c0de-0000-7000-8000-000000000000 --json
    """
    from hotset.client import Client

    with Client() as client:
        found = client.audit_log(_filter(tenant, job, actor, action, since, until, limit))
    if as_json:
        print_json([_object(row) for row in found])
        return
    rows = [(_time(r["at"]), r["tenant"], r["action"], r["job_id"], r["actor"], _detail(r)) for r in found]
    typer.echo(table(("at", "tenant", "action", "job", "by", "detail"), rows))


def tail(
    tenant: Tenant = None,
    job: Job = None,
    actor: Actor = None,
    action: Action = None,
    since: Annotated[str | None, typer.Option(help="Begin there: 10m (ago) ... (default: now).")] = None,
    as_json: AsJson = False,
) -> None:
    """Follow what is done, as it is committed, until Ctrl-C. With --json each line is one JSON object.

    \b
    Example:  hotset audit tail
              hotset audit tail --action failed --tenant '*' --json
    """
    from hotset.client import Client
    from hotset.errors import Unavailable

    wanted = _filter(tenant, job, actor, action, since, None, 1)
    with Client() as client:
        follow = client.audit_tail(wanted, since=wanted.since or datetime.now(UTC))
        away = False
        while True:
            try:
                found = follow.read()
                away = False
            except Unavailable as e:
                if not away:
                    note(f"{e} Waiting for it.")
                away, found = True, []
            for row in found:
                if as_json:
                    print_json(_object(row))
                else:
                    who = f"{row['action']:<12}  {row['job_id'] or '-'}  {row['actor']}"
                    typer.echo(f"{_time(row['at'])}  {who}  {_detail(row)}")
            if found:
                sys.stdout.flush()
            time.sleep(_LOOK_S)


def _filter(
    tenant: str | None,
    job: str | None,
    actor: str | None,
    action: str | None,
    since: str | None,
    until: str | None,
    limit: int,
) -> AuditFilter:
    from hotset.jobs.filters import AuditFilter, parse_id, parse_time

    now = datetime.now(UTC)
    return AuditFilter(
        tenant=tenant,
        job=None if job is None else parse_id(job),
        actor=actor,
        action=action,
        since=parse_time(since, "--since", now) if since else None,
        until=parse_time(until, "--until", now) if until else None,
        limit=limit,
    )


def _object(row: dict[str, Any]) -> dict[str, Any]:
    return {k: row[k] for k in ("id", "at", "tenant", "actor", "action", "job_id", "attempt", "detail")}


def _detail(row: dict[str, Any]) -> str:
    found = {**({"attempt": row["attempt"]} if row["attempt"] else {}), **row["detail"]}
    if "model_digest" in found:
        found["model_digest"] = str(found["model_digest"])[:12]  # as Ollama shows it
    return ", ".join(f"{k}={v}" for k, v in found.items())


def _time(value: datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
