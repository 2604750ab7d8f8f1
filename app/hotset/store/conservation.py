"""Is every accepted job accounted for? Proved from Postgres alone, on one snapshot, while everything runs.

    accepted = succeeded + failed + cancelled + expired + quarantined + open

is counted twice, from the rows of `jobs` and from the audit, and compared job by job; then results, fencing tokens, the
end of each claim and the chain of the audit's seals. Set-based: a million jobs take minutes at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from hotset.jobs import TERMINAL, State
from hotset.store.engine import connected, sql
from hotset.store.verify import Verified, verify_within

#: In the order in which a job ends best.
ENDS = tuple(str(s) for s in State if s in TERMINAL)
OPEN = "open"

#: What is proved -> what breaks it, as the queries name it.
_INVARIANTS: Mapping[str, tuple[str, ...]] = {
    "every job is accepted once": ("not-accepted", "accepted-twice", "before-acceptance"),
    "no accepted job is lost": ("lost", "removed-unsaid"),
    "its row and its audit agree on its state": ("states-differ",),
    "it ends once, and nothing follows": ("ended-twice", "after-the-end"),
    "one committed result if it succeeded, else none": (
        "no-result",
        "two-results",
        "result-without-job",
        "result-of-no-success",
        "result-of-another-attempt",
    ),
    "its tokens rise with every claim": ("token-not-raised", "attempts-differ"),
    "every claim is ended by exactly one end": ("claim-without-end", "end-without-claim", "end-of-another-attempt"),
}
CHAIN = "every seal of the audit holds"


@dataclass(frozen=True, slots=True)
class Broken:
    """`ids`: the first jobs concerned, five at most."""

    fault: str
    count: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Invariant:
    """`checked`: jobs, results, claims or seals, whatever it is about."""

    name: str
    checked: int
    broken: tuple[Broken, ...]

    @property
    def holds(self) -> bool:
        return not self.broken


@dataclass(frozen=True, slots=True)
class Balance:
    """Jobs by end, and `open`: by their rows, removed by retention (by the audit), and by the audit. `older`: rows of
    jobs from before the audit that is kept; they are in no column."""

    rows: Mapping[str, int]
    removed: Mapping[str, int]
    audit: Mapping[str, int]
    older: int
    removed_said: int

    @property
    def accepted(self) -> tuple[int, int, int]:
        return sum(self.rows.values()), sum(self.removed.values()), sum(self.audit.values())


@dataclass(frozen=True, slots=True)
class Conservation:
    balance: Balance
    invariants: tuple[Invariant, ...]
    chain: Verified

    @property
    def whole(self) -> bool:
        return all(i.holds for i in self.invariants)


def audit_conservation(
    engine: Engine, *, tenant: str | None = None, anchors: Mapping[int, frozenset[str]] | None = None
) -> Conservation:
    """Count and compare everything; the chain of seals is that of all tenants, whichever is asked for."""
    with connected(engine) as connection:
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            return conservation_within(connection, tenant=tenant, anchors=anchors)


def conservation_within(
    connection: Connection, *, tenant: str | None = None, anchors: Mapping[int, frozenset[str]] | None = None
) -> Conservation:
    """The same as a part of the caller's transaction, whose snapshot must not move."""
    connection.exec_driver_sql("SET LOCAL work_mem = '128MB'")
    connection.exec_driver_sql("SET LOCAL jit = off")
    balance, checked, broken = _count(connection, tenant)
    chain = verify_within(connection, anchors=anchors)
    found = [
        Invariant(name, checked[name], tuple(b for b in broken if b.fault in faults))
        for name, faults in _INVARIANTS.items()
    ]
    seals = tuple(Broken(f.what, 1, tuple(str(i) for i in (f.batch, f.row) if i is not None)) for f in chain.faults)
    return Conservation(balance, (*found, Invariant(CHAIN, chain.seals, seals)), chain)


def _count(connection: Connection, tenant: str | None) -> tuple[Balance, dict[str, int], list[Broken]]:
    said = connection.exec_driver_sql(sql("conservation_removed"), {"tenant": tenant}).one()
    asked = {"tenant": tenant, "since": said.since}
    by_row = dict.fromkeys((*ENDS, OPEN), 0)
    removed, by_audit = dict(by_row), dict(by_row)
    older = 0
    broken: list[Broken] = []
    for r in connection.exec_driver_sql(sql("conservation_jobs"), asked).all():
        if r.fault is not None:
            broken.append(Broken(r.fault, r.jobs, tuple(r.first)))
        if r.older:
            older += r.jobs if r.kind is not None else 0
            continue
        if r.kind is not None:
            by_row[r.kind] += r.jobs
        elif r.fault is None:
            removed[r.ended] += r.jobs
        if r.fault != "not-accepted":
            by_audit[r.ended or OPEN] += r.jobs
    gone = sum(removed.values())
    # Of jobs that were accepted before the audit that is kept nobody knows here; retention counted them as well.
    if gone > said.jobs or (gone < said.jobs and said.since == "-infinity"):
        broken.append(Broken("removed-unsaid", abs(gone - said.jobs), ()))
    results = _faults(connection, "conservation_results", asked, broken, "jobs")
    claims = _faults(connection, "conservation_attempts", asked, broken, "claims")
    jobs = sum(by_audit.values())
    names = list(_INVARIANTS)
    checked = dict(zip(names, (jobs, jobs, jobs, jobs, results, claims, claims), strict=True))
    return Balance(by_row, removed, by_audit, older, said.jobs), checked, _together(broken)


def _faults(connection: Connection, name: str, asked: Mapping[str, object], broken: list[Broken], counted: str) -> int:
    """Adds what the query found; how many it looked at."""
    looked = 0
    for r in connection.exec_driver_sql(sql(name), dict(asked)).all():
        looked += getattr(r, counted)
        if r.fault is not None:
            broken.append(Broken(r.fault, r[1], tuple(r.first)))
    return looked


def _together(broken: Iterable[Broken]) -> list[Broken]:
    """One for each fault, whatever the states of the jobs."""
    found: dict[str, Broken] = {}
    for one in broken:
        before = found.get(one.fault, Broken(one.fault, 0, ()))
        found[one.fault] = Broken(one.fault, before.count + one.count, tuple(sorted({*before.ids, *one.ids})[:5]))
    return list(found.values())
