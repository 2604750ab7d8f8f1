"""`hotset audit seal, verify, export, conservation`: is the audit what it was, is every job accounted for?"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotset.cli.output import AsJson, note, print_json, table

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from hotset.settings import Settings
    from hotset.store.conservation import Conservation
    from hotset.store.verify import Verified

Anchor = Annotated[
    Path | None, typer.Option("--anchor", help="The file of anchored heads (default: the setting audit_anchor).")
]


def add_to(group: typer.Typer) -> None:
    group.command("verify")(verify)
    group.command("conservation")(conservation)
    group.command("seal")(seal)
    group.command("export")(export)


def verify(
    anchor: Anchor = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Verify a file of `hotset audit export`; needs no database.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compute every hash of the audit's chain anew, and say what was changed, added or removed. Exit status 1 if so.

    Rows are sealed half a minute after they were written; what came since is counted, and proves nothing yet. Without
    anchors, whoever owns the database could have written the whole chain anew.

    \b
    Example:  hotset audit verify --anchor /var/log/hotset/anchors.jsonl
              hotset audit verify --file november.jsonl --anchor anchors.jsonl
    """
    from hotset.store.export import verify_file
    from hotset.store.verify import verify as verify_database

    if file is not None:
        found = verify_file(file, anchors=_anchors(anchor))
    else:
        with _store() as (engine, settings):
            found = verify_database(engine, anchors=_anchors(anchor, settings))
    if as_json:
        print_json(_verified(found))
    else:
        _say_verified(found)
    if not found.whole:
        raise typer.Exit(1)


def conservation(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Jobs of this tenant only (default: all).")] = None,
    anchor: Anchor = None,
    as_json: AsJson = False,
) -> None:
    """Prove from Postgres that no job was lost and none done twice. Exit status 1 if one was.

    Accepted = succeeded + failed + cancelled + expired + quarantined + open, counted from the jobs and from the audit,
    compared job by job; one result for each that succeeded; tokens that rise; each claim ended once; seals that hold.
    All on one picture of the database, while everything runs.

    \b
    Example:  hotset audit conservation
              hotset audit conservation --tenant acme --json
    """
    from hotset.store.conservation import audit_conservation

    with _store() as (engine, settings):
        found = audit_conservation(engine, tenant=tenant, anchors=_anchors(anchor, settings))
    if as_json:
        print_json(_conserved(found))
    else:
        _say_conserved(found)
    if not found.whole:
        raise typer.Exit(1)


def seal(anchor: Anchor = None, as_json: AsJson = False) -> None:
    """Seal now what workers would seal in their own time, and anchor it.

    Rows of transactions that still run, and what came after them, are left for the next seal.

    \b
    Example:  hotset audit seal --anchor anchors.jsonl
    """
    from hotset.store import anchors, seals

    with _store() as (engine, settings):
        made = seals.seal(engine, by=f"{getpass.getuser()} (hotset audit seal)")
        if (path := anchor or settings.audit_anchor) is not None:
            anchors.append(path, made)
    if as_json:
        print_json([{**one.fields(), "hash": one.hash.hex()} for one in made])
    elif made:
        note(f"Sealed {sum(one.entries for one in made)} rows. Batch {made[-1].number}, head {made[-1].hash.hex()}")
    else:
        note("There was nothing to seal.")


def export(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write it; must not exist. `-`: standard output.")
    ],
    since: Annotated[str | None, typer.Option(help="Since: 1h (ago), 2d, 2026-01-31T08:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Before: as --since.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Of this tenant (default: all).")] = None,
    as_json: AsJson = False,
) -> None:
    """Write sealed rows of the audit with their seals to a file that others can verify without this database.

    Rows of other tenants or times in the same batches are in it as hashes only. Anchors are another file: give it, too.

    \b
    Example:  hotset audit export --since 30d -o november.jsonl
              hotset audit export --tenant acme -o acme.jsonl
    """
    from hotset.jobs.filters import parse_time
    from hotset.store.export import export as write

    now = datetime.now(UTC)
    wanted: dict[str, Any] = {
        "since": parse_time(since, "--since", now) if since else None,
        "until": parse_time(until, "--until", now) if until else None,
        "tenant": tenant,
    }
    with _store() as (engine, _):
        if str(output) == "-":
            done = write(engine, sys.stdout, **wanted)
        else:
            with output.open("x", encoding="utf-8", newline="\n") as out:
                done = write(engine, out, **wanted)
    if as_json and str(output) != "-":
        print_json({"file": str(output), "seals": done.seals, "rows": done.rows, "others": done.others,
                    "unsealed": done.unsealed})  # fmt: skip
        return
    later = f" {done.unsealed} rows are not sealed yet (`hotset audit seal`)." if done.unsealed else ""
    note(f"Wrote {done.rows} rows in {done.seals} batches.{later} Verify: hotset audit verify --file {output}")


@contextmanager
def _store() -> Iterator[tuple[Engine, Settings]]:
    from hotset.settings import load_settings
    from hotset.store import make_engine

    settings = load_settings()
    engine = make_engine(settings.database_url.get_secret_value(), application="hotset-audit", pool_size=1)
    try:
        yield engine, settings
    finally:
        engine.dispose()


def _anchors(given: Path | None, settings: Settings | None = None) -> Mapping[int, frozenset[str]]:
    """Of the file that was named; of the setting's if it is there already."""
    from hotset.store import anchors

    if given is not None:
        return anchors.read(given)
    path = settings.audit_anchor if settings is not None else None
    return anchors.read(path) if path is not None and path.exists() else {}


def _verified(found: Verified) -> dict[str, Any]:
    head = found.head
    return {
        "whole": found.whole,
        "seals": found.seals,
        "entries": found.entries,
        "removed": {f"{month:%Y-%m}": entries for month, entries in found.removed.items()},
        "unsealed": found.unsealed,
        "unsealed_since": found.unsealed_since,
        "anchors": found.anchors,
        "head": None if head is None else {"number": head.number, "hash": head.hash.hex(), "sealed_at": head.sealed_at},
        "faults": [{"batch": f.batch, "row": f.row, "what": f.what} for f in found.faults],
        "fault_count": found.fault_count,
    }


def _say_verified(found: Verified) -> None:
    removed = sum(found.removed.values())
    rows = [
        ("batches, in one chain", found.seals),
        ("rows, as they were sealed", found.entries),
        ("rows sealed, removed by retention", removed),
        ("rows not sealed yet", found.unsealed),
        ("anchors compared", found.anchors),
        ("faults", found.fault_count),
    ]
    typer.echo(table(("audit", "count"), rows))
    for f in found.faults:
        where = "no batch" if f.batch is None else f"batch {f.batch}"
        typer.echo(f"{where}{'' if f.row is None else f', row {f.row}'}: {f.what}.")
    if found.head is not None and found.whole:
        typer.echo(
            f"Head: batch {found.head.number}, {found.head.hash.hex()}, sealed {found.head.sealed_at:%Y-%m-%d %H:%M:%S}"
        )
    if found.seals and not found.anchors:
        note("No anchor was compared: this shows no change by one who owns the database and wrote all seals anew.")


def _conserved(found: Conservation) -> dict[str, Any]:
    balance = found.balance
    return {
        "whole": found.whole,
        "accepted": dict(zip(("jobs", "removed", "audit"), balance.accepted, strict=True)),
        "jobs": dict(balance.rows),
        "removed": dict(balance.removed),
        "audit": dict(balance.audit),
        "older": balance.older,
        "removed_said": balance.removed_said,
        "invariants": [
            {
                "name": i.name,
                "holds": i.holds,
                "checked": i.checked,
                "broken": [{"fault": b.fault, "count": b.count, "ids": list(b.ids)} for b in i.broken],
            }
            for i in found.invariants
        ],
        "chain": _verified(found.chain),
    }


def _say_conserved(found: Conservation) -> None:
    balance = found.balance
    rows: list[tuple[object, ...]] = [("accepted", *balance.accepted)]
    rows += [(kind, balance.rows[kind], balance.removed[kind], balance.audit[kind]) for kind in balance.rows]
    typer.echo(table(("jobs", "rows", "removed", "audit"), rows))
    if balance.older:
        typer.echo(f"{balance.older} jobs are older than the audit that is kept; nothing is said of them.")
    checked = [
        (i.name, i.checked, sum(b.count for b in i.broken), "holds" if i.holds else "BROKEN") for i in found.invariants
    ]
    typer.echo("\n" + table(("invariant", "checked", "against it", ""), checked))
    for i in found.invariants:
        for b in i.broken:
            typer.echo(f"{b.fault}: {b.count}{': ' if b.ids else ''}{', '.join(b.ids)}")
