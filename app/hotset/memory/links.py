"""What summaries are made of, and what becomes of them when some of it goes; all within the caller's transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from hotset.memory.asking import erase_job
from hotset.memory.session import Session

_BATCH = 500


def there(session: Session) -> bool:
    """Whether the tables know of summaries; older ones do not until `hotset migrate`."""
    return bool(session.rows("there", {"table": "memory_summaries"})[0].there)


def sources(session: Session, rows: Collection[Row[Any]]) -> dict[UUID, tuple[UUID, ...]]:
    """Of those of these memories that are summaries: what is left of what they are made of, in its order."""
    ids = [row.id for row in rows if row.ring == "summary"]
    found: dict[UUID, list[UUID]] = defaultdict(list)
    # Only newer tables have such rows.
    for row in session.rows("sources", {"tenant": session.who.tenant, "ids": ids}) if ids else ():
        found[row.memory].append(row.source)
    return {summary: tuple(made_of) for summary, made_of in found.items()}


def drop_summaries(session: Session, ids: Collection[UUID]) -> list[Row[Any]]:
    """Summaries that these memories are in, and those that these are in, go with their jobs; rows of their own
    memories, held, which are the caller's to remove. What is just being asked for or kept is waited for, and seen."""
    tenant = session.who.tenant
    own: dict[UUID, Row[Any]] = {}
    while True:
        made = session.rows("summaries_made_of", {"tenant": tenant, "ids": [*ids, *own]})
        held = session.rows("summaries_hold", {"tenant": tenant, "ids": [row.id for row in made]}) if made else []
        new = {row.memory for row in held if row.memory is not None} - own.keys() - set(ids)
        if not new:
            break
        own |= {row.id: row for row in session.rows("get", {"tenant": tenant, "ids": [*new], "scopes": []})}
    for row in held:
        erase_job(session, row.job, "a source of its summary was forgotten")
    dropped = [row.id for row in held]
    if dropped:
        session.execute("summaries_drop", {"tenant": tenant, "ids": dropped})
    # What was itself to go is not made anew.
    session.execute("summaries_disowned", {"tenant": tenant, "ids": [*ids], "dropped": dropped})
    return list(own.values())


def drop_all(session: Session) -> int:
    """Every summary of the tenant with its links and its job; how many. Their memories stay."""
    tenant, done = session.who.tenant, 0
    while rows := session.rows("summaries_all", {"tenant": tenant, "limit": _BATCH}):
        for row in rows:
            erase_job(session, row.job, "the tenant is erased")
        done += session.execute("summaries_drop", {"tenant": tenant, "ids": [row.id for row in rows]})
    return done
