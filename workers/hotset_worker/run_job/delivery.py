"""One message, as Celery hands it over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hotset.broker import SUSPECT


@dataclass(frozen=True, slots=True)
class Delivery:
    """`task_id` names the job; `claim` is the broker's hold on the message, `queue` and `lane` where it was
    taken from.

    Of plain producers only: `args` and `kwargs`, `not_before` (Celery's eta), `links` (what Celery shall call with the
    answer: callbacks, errbacks, chain).
    """

    task_id: str
    claim: str
    queue: str
    lane: str = ""
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    not_before: datetime | None = None
    links: Mapping[str, Any] = field(default_factory=dict)
    chord: bool = False

    @property
    def alone(self) -> bool:
        """Whether nothing runs beside it: what is granted from the suspects' lane."""
        return self.lane == SUSPECT

    @property
    def plain(self) -> bool:
        """Whether a plain Celery producer sent it: hotset's own messages say nothing but their id."""
        return bool(self.args or self.kwargs)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended, for Celery: `links` are called with the `text` or with the error."""

    state: str
    text: str = ""
    tokens: int = 0
    error_kind: str | None = None
    error: str | None = None
    retry_in_s: float | None = None
    links: Mapping[str, Any] = field(default_factory=dict)
