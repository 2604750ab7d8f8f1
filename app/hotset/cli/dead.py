"""`hotset jobs dead`: the dead letters, jobs that nobody will run again by itself, each with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hotset.cli.output import AsJson, note, print_json, table
from hotset.cli.selecting import (
    Agent,
    ErrorKind,
    JobIds,
    Limit,
    Metadata,
    OneTenant,
    Queue,
    Since,
    Until,
    Yes,
    as_object,
    check_agent,
    filter_of,
    ids_or_filters,
    retried,
    shown_time,
)

if TYPE_CHECKING:
    from hotset.jobs import JobView

_LONGEST_REASON = 90


def dead(
    job_ids: JobIds = None,
    state: Annotated[
        str | None, typer.Option("--state", help="Only failed, or only quarantined (it killed its workers).")
    ] = None,
    agent: Agent = None,
    queue: Queue = None,
    tenant: OneTenant = None,
    since: Since = None,
    until: Until = None,
    error_kind: ErrorKind = None,
    metadata: Metadata = None,
    limit: Limit = 50,
    retry: Annotated[bool, typer.Option("--retry", help="Run them again: those named, or all that match.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """List the dead letters: jobs that failed for good or were quarantined, with the reason; --retry runs them again.

    Each becomes a new job (`hotset jobs retry` says more). Those that were run again before are marked, and left out.

    \b
    Example:  hotset jobs dead --since 1d
              hotset jobs dead --error-kind RunTimeout --retry
              hotset jobs dead 0198c0de-0000-7000-8000-000000000000 --retry
    """
    from dataclasses import replace

    from hotset.client import Client
    from hotset.errors import UsageError
    from hotset.jobs import State
    from hotset.jobs.filters import parse_id, parse_states
    from hotset.store import selecting

    letters = frozenset({State.FAILED, State.QUARANTINED})
    states = parse_states(state) if state else letters
    if not states <= letters:
        raise UsageError(f"Dead letters are failed or quarantined, not {state}.", remedy="`hotset jobs list` has all.")
    wanted = filter_of(None, agent, queue, None, since, until, error_kind, metadata)
    if job_ids:
        ids_or_filters(job_ids, state is not None, wanted, "retry")
    with Client(tenant=tenant) as client:
        check_agent(client, agent)
        ids = tuple(parse_id(i) for i in job_ids or ())
        wanted = replace(wanted, states=states, ids=ids, limit=max(limit, len(ids)))
        if ids:
            there = {view.id for view in client.jobs(wanted)}
            if alive := [i for i in ids if i not in there]:
                raise UsageError(f"Job {alive[0]} is no dead letter.", remedy=f"hotset jobs show {alive[0]}")
        if retry:
            retried(client, ids, wanted, yes=yes, as_json=as_json)
            return
        found = client.jobs(wanted)
        left = set(selecting.not_retried(client.engine, [view.id for view in found]))
    if as_json:
        print_json([{**as_object(view), "retried": view.id not in left} for view in found])
        return
    rows = [
        (
            v.id,
            v.state,
            v.agent,
            f"{v.attempt}, {v.crashes} crashed" if v.crashes else str(v.attempt),
            shown_time(v.finished_at) if v.finished_at else "",
            "yes" if v.id not in left else "",
            _reason(v),
        )
        for v in found
    ]
    typer.echo(table(("job", "state", "agent", "attempts", "ended", "retried", "reason"), rows))
    if len(found) == limit:
        note(f"There may be more: --limit {limit * 2}")


def _reason(view: JobView) -> str:
    text = f"{view.error_kind or '?'}: {' '.join((view.error or '').split())}"
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
