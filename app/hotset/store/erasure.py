"""Erase prompts, answers and metadata of jobs that have ended. Who, when and with what outcome stays, and the audit,
which holds neither prompt nor answer, stays whole with its seals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine

from hotset.errors import IllegalTransition, UnknownJob
from hotset.store.engine import rows

#: What one statement erases: some milliseconds of work.
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Look:
    """What an erasure would meet: jobs in all, of these not ended (or in a flow that goes on), erased before."""

    jobs: int
    open: int
    erased: int


def look(engine: Engine, *, tenant: str, ids: Collection[UUID] | None = None) -> Look:
    """Raises UnknownJob when one of the ids is no job of the tenant."""
    found = rows(engine, "erase_look", {"tenant": tenant, "ids": _array(ids)})[0]
    if ids is not None and found.jobs < len(set(ids)):
        there = {r.id for r in rows(engine, "erase_known", {"tenant": tenant, "ids": _array(ids)})}
        raise UnknownJob(next(i for i in ids if i not in there))
    return Look(found.jobs, found.open, found.erased)


def erase(
    engine: Engine,
    *,
    tenant: str,
    actor: str,
    ids: Collection[UUID] | None = None,
    reason: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Erase these jobs, or all of the tenant; how many were erased that had not been before. An audit row for each.

    Raises IllegalTransition when some have not ended, and UnknownJob; then nothing is erased. What it has done stays
    done when it breaks off: call it again.
    """
    found = look(engine, tenant=tenant, ids=ids)
    if found.open:
        which = "1 job has" if found.open == 1 else f"{found.open} jobs have"
        raise IllegalTransition(
            f"{which} not ended, or belong to a flow that goes on; nothing was erased.",
            remedy="Cancel first (`hotset jobs cancel`), or wait.",
        )
    parameters = {"tenant": tenant, "ids": _array(ids), "actor": actor, "reason": reason, "limit": _CHUNK}
    done = 0
    while fresh := len(rows(engine, "erase", parameters)):
        done += fresh
        progress(done)
    return done


def streamed(engine: Engine, *, tenant: str, ids: Collection[UUID] | None, within_s: float) -> Mapping[UUID, int]:
    """Erased jobs that ended so many wall seconds ago at most, with their last attempt: the cache may have tokens."""
    parameters = {"tenant": tenant, "ids": _array(ids), "within_s": within_s}
    return {r.id: r.attempt for r in rows(engine, "erase_streams", parameters)}


def _array(ids: Collection[UUID] | None) -> list[UUID] | None:
    return None if ids is None else list(ids)
