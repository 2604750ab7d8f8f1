"""Keys that a model found, as rows: kept, linked, shown, undone; all within the caller's transaction.

What rules found stands in the memories themselves and is not touched: whether a statement closes another is judged by
that alone. A model's key makes a statement a fact of the core ring, and puts it after the one before of the same key,
if what vectors say of their properties does not speak against it: both stand, the later goes first.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from hotset.memory.asking import erase_job
from hotset.memory.facts import fact
from hotset.memory.keys import Key
from hotset.memory.records import Memory
from hotset.memory.session import Session

_BATCH = 500
#: Two statements of one key whose properties are less near (cosine) than that are not linked: of wrong keys that leaves
#: out most, of right ones few (measured on two files of `fitting/`, see docs/memory.md).
_NEAR = 0.25


def there(session: Session) -> bool:
    """Whether the tables know of such keys; older ones do not until `hotset migrate`."""
    return bool(session.rows("there", {"table": "memory_keys"})[0].there)


def lock(session: Session) -> None:
    """First of all, by who keeps or drops keys: what one of them holds the other waits for."""
    session.rows("keys_lock", {"tenant": session.who.tenant})


def keep(session: Session, scope: str, keys: Mapping[UUID, Key], found_by: str) -> None:
    """Keys of statements of a scope, in place of those that a model found before; and what follows from them. The
    caller has the lock."""
    tenant = session.who.tenant
    session.rows("lock_topic", {"tenant": tenant, "scope": scope})
    touched = _keys_of(session, list(keys)) | {(scope, key.subject, key.attribute) for key in keys.values()}
    _unlinked(session, touched)
    rows = [{"memory": str(i), **asdict(key), "borrowed": sorted(key.borrowed)} for i, key in keys.items()]
    session.execute(
        "keys_keep", {"tenant": tenant, "scope": scope, "keys": json.dumps(rows), "found_by": found_by[:200]}
    )
    _linked(session, touched)


def drop(session: Session, gone: Mapping[UUID, str], scopes: Collection[str]) -> None:
    """Before memories go, of which `gone` has the texts: their keys, keys that borrowed a word of theirs, and what
    waits in their scopes, which was told of them or of their keys; it is asked for anew. The caller has the lock."""
    end_jobs(session, scopes, "something in its scope was forgotten")
    asked = {"tenant": session.who.tenant, "scopes": list(scopes), "ids": list(gone)}
    texts = [text.lower() for text in gone.values()]
    borrowed = [
        row.memory
        for row in session.rows("keys_borrowed", asked)
        if any(word in text for word in row.borrowed for text in texts)
    ]
    undo(session, [*gone, *borrowed])
    session.execute("keys_forgotten", asked)


def undo(session: Session, memories: Sequence[UUID]) -> None:
    """As if no model had been asked about these. The caller has the lock."""
    touched = _keys_of(session, memories)
    _unlinked(session, touched)
    session.execute("keys_drop", {"tenant": session.who.tenant, "ids": list(memories)})
    _linked(session, touched)


def undo_all(session: Session, scope: str | None = None) -> int:
    """Of the tenant or one of its scopes; how many statements. What waits is ended, too."""
    lock(session)
    tenant, done = session.who.tenant, 0
    end_jobs(session, None if scope is None else [scope], "keys are undone")
    while rows := session.rows("keys_all", {"tenant": tenant, "scope": scope, "limit": _BATCH}):
        undo(session, [row.memory for row in rows])
        done += len(rows)
    return done


def end_jobs(session: Session, scopes: Collection[str] | None, why: str) -> None:
    """Of these scopes, or of all."""
    tenant = session.who.tenant
    rows = session.rows("keys_jobs_of", {"tenant": tenant, "scopes": None if scopes is None else list(scopes)})
    for row in rows:
        erase_job(session, row.job, why)
    if rows:
        session.execute("keys_done", {"tenant": tenant, "ids": [row.id for row in rows]})


def shown(session: Session, found: Sequence[Memory]) -> list[Memory]:
    """With the model's key where rules found none: such a fact is in the core ring by a model alone."""
    ids = [m.id for m in found if m.ring == "core" and not fact(m.subject, m.attribute)]
    rows = session.rows("keys_of", {"tenant": session.who.tenant, "ids": ids}) if ids else []
    keys = {row.memory: row for row in rows}
    return [
        replace(m, subject=keys[m.id].subject, attribute=keys[m.id].attribute, key_by="model") if m.id in keys else m
        for m in found
    ]


def _keys_of(session: Session, memories: Sequence[UUID]) -> set[tuple[str, str, str]]:
    rows: Iterable[Row[Any]] = session.rows("keys_of", {"tenant": session.who.tenant, "ids": list(memories)})
    return {(row.scope, row.subject, row.attribute) for row in rows}


def _linked(session: Session, keys: Collection[tuple[str, str, str]]) -> None:
    if keys:
        session.execute("keys_link", {**_columns(session, keys), "near": _NEAR})


def _unlinked(session: Session, keys: Collection[tuple[str, str, str]]) -> None:
    if keys:
        session.execute("keys_unlink", _columns(session, keys))


def _columns(session: Session, keys: Collection[tuple[str, str, str]]) -> dict[str, Any]:
    scopes, subjects, attributes = (list(column) for column in zip(*keys, strict=True))
    return {"tenant": session.who.tenant, "scopes": scopes, "subjects": subjects, "attributes": attributes}
