"""What may be submitted: limits as frozen data, and what some jobs demand of them: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hotset.jobs.job import NewJob

Scope = Literal["tenant", "agent", "queue"]
Kind = Literal["requests_per_min", "tokens_per_min", "open_jobs"]
KINDS: tuple[Kind, ...] = ("requests_per_min", "tokens_per_min", "open_jobs")
#: Stands for each tenant, agent or queue that has no entry of its own; each of them has its own count.
EACH = "*"


@dataclass(frozen=True, slots=True)
class Limit:
    """None: not limited. A minute is a model minute; `open_jobs` counts what waits and what runs."""

    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    open_jobs: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """By name, or `*`. A job must keep all that apply to it. None at all: nothing is counted and nothing asked."""

    tenants: Mapping[str, Limit] = field(default_factory=dict)
    agents: Mapping[str, Limit] = field(default_factory=dict)
    queues: Mapping[str, Limit] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.tenants or self.agents or self.queues)


@dataclass(frozen=True, slots=True)
class Demand:
    """`amount` more of what may be `most`."""

    scope: Scope
    name: str
    kind: Kind
    most: int
    amount: int

    def __str__(self) -> str:
        what = {"requests_per_min": "requests a minute", "tokens_per_min": "tokens a minute", "open_jobs": "open jobs"}
        return f"{self.scope.capitalize()} {self.name!r} may have {self.most:,} {what[self.kind]}"


def demands(limits: Limits, jobs: Sequence[NewJob], tokens: Callable[[NewJob], int]) -> tuple[Demand, ...]:
    """What these jobs together demand, in a fixed order. `tokens`: how many a job is expected to take."""
    found: list[Demand] = []
    for scope, entries, name_of in (
        ("tenant", limits.tenants, lambda job: job.tenant),
        ("agent", limits.agents, lambda job: job.agent),
        ("queue", limits.queues, lambda job: job.queue),
    ):
        if entries:
            found += _of_scope(scope, entries, jobs, name_of, tokens)  # type: ignore[arg-type]
    return tuple(found)


def _of_scope(
    scope: Scope,
    entries: Mapping[str, Limit],
    jobs: Iterable[NewJob],
    name_of: Callable[[NewJob], str],
    tokens: Callable[[NewJob], int],
) -> list[Demand]:
    counts: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    for job in jobs:
        name = name_of(job)
        limit = entries.get(name) or entries.get(EACH)
        if limit is not None:
            counts[name] += 1
            expected[name] += tokens(job) if limit.tokens_per_min is not None else 0
    found = []
    for name in sorted(counts):
        limit = entries.get(name) or entries[EACH]
        amounts = {"requests_per_min": counts[name], "tokens_per_min": expected[name], "open_jobs": counts[name]}
        for kind in KINDS:
            most = getattr(limit, kind)
            if most is not None:
                found.append(Demand(scope, name, kind, most, amounts[kind]))
    return found
