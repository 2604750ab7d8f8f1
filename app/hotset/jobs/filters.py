"""Which jobs, which rows of the audit: frozen data, and the one place where people's words become it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hotset.errors import InvalidJob, UnknownJob, did_you_mean
from hotset.jobs.durations import parse_duration
from hotset.jobs.states import OPEN, TERMINAL, WAITING, State

#: Stands for all tenants, where one may be named.
EVERY_TENANT = "*"
#: More rows are asked for page by page.
MOST_ROWS = 10_000
_GROUPS: Mapping[str, frozenset[State]] = {"open": OPEN, "waiting": WAITING, "ended": TERMINAL}
_LONGEST_VALUE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Jobs that meet all of it; what is empty or None asks for nothing.

    `tenant`: None is the asking client's own, EVERY_TENANT all of them. `since` and `until` bound the arrival (until is
    excluded). `metadata` compares values as texts. `after` is the id of the last job of the page before; a list goes
    from the newest to the oldest, `limit` at a time.
    """

    states: frozenset[State] = frozenset()
    agent: str | None = None
    queue: str | None = None
    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    error_kind: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    ids: tuple[UUID, ...] = ()
    after: UUID | None = None
    limit: int = 50

    @property
    def selective(self) -> bool:
        """Whether it leaves any job of its tenant out."""
        return bool(
            self.states
            or self.agent
            or self.queue
            or self.since
            or self.until
            or self.error_kind
            or self.metadata
            or self.ids
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Rows of the audit that meet all of it, the newest `limit`. `tenant`: as in JobFilter."""

    tenant: str | None = None
    job: UUID | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100


def parse_states(words: str | Iterable[str]) -> frozenset[State]:
    """States from names, or from the groups open, waiting and ended; texts may hold several, with commas.

    Raises InvalidJob for any other word.
    """
    found: set[State] = set()
    for text in (words,) if isinstance(words, str) else words:
        for word in (part.strip().lower() for part in text.split(",")):
            if word in _GROUPS:
                found |= _GROUPS[word]
            elif word in set(State):
                found.add(State(word))
            else:
                known = [*map(str, State), *_GROUPS]
                hint = did_you_mean(word, known, "")
                near = f"{hint} " if hint.startswith("Did") else ""
                raise InvalidJob(f"There is no state {word!r}.", remedy=f"{near}There are {', '.join(known)}.")
    return frozenset(found)


def parse_time(value: str, what: str, now: datetime) -> datetime:
    """A time of day: `1h` or `30m` ago, or ISO 8601 (without a zone it is UTC). Raises InvalidJob."""
    try:
        return now - timedelta(seconds=parse_duration(value, what))
    except InvalidJob:
        pass
    try:
        time = datetime.fromisoformat(value.strip())
    except ValueError:
        raise InvalidJob(
            f"{what}={value!r} is no time.", remedy="Give how long ago (90s, 15m, 1h, 2d) or 2026-01-31T08:00Z."
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def parse_metadata(pairs: Iterable[str]) -> dict[str, str]:
    """`["team=core", ...]` as a mapping. Raises InvalidJob for what has no `=`."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or len(pair) > _LONGEST_VALUE:
            raise InvalidJob(f"metadata {pair[:80]!r} is no name=value.", remedy="Write it like team=core.")
        found[name] = value
    return found


def parse_id(text: str | UUID) -> UUID:
    """A job's id. Raises UnknownJob for what cannot be one."""
    if isinstance(text, UUID):
        return text
    try:
        return UUID(text)
    except ValueError:
        raise UnknownJob(text) from None
