"""Days, weeks and months of memories (UTC), which of them are due for a summary, and how much a prompt holds. Pure.

A week begins on Monday. A month here is the weeks that begin in it, so that a week is part of one month and a day of
one week: what a small summary tells is in one larger summary, and only once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from hotset.memory.words import tokens

Kind = Literal["day", "week", "month"]
#: From the smallest on.
KINDS: tuple[Kind, ...] = ("day", "week", "month")
#: So long after its end what was said in a period is known, and compared with what was before.
_SETTLED = timedelta(hours=1)
#: So many episodes are worth a summary.
LEAST = 5
#: English words are 1.3 pieces of a model's vocabulary on average; codes and numbers have more of them than words.
_PIECES_A_WORD, _CHARS_A_PIECE = 1.4, 3.0
#: What a line costs beside its text: a dash, the time, who said it.
_LINE = 16


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """From `start` to before `end`."""

    start: datetime
    end: datetime
    kind: Kind

    def closed(self, now: datetime) -> bool:
        return self.end + _SETTLED <= now


@dataclass(frozen=True, slots=True)
class Uncovered:
    """Memories of a scope that no summary covers, and that begin on a day: how many, and how many episodes they stand
    for. `kind`: of summaries; None: they are episodes themselves."""

    scope: str
    kind: Kind | None
    day: datetime
    items: int
    memories: int


def period_of(kind: Kind, at: datetime) -> Period:
    """The one that this time is in. `at` has a time zone."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == "day":
        return Period(day, day + timedelta(days=1), kind)
    monday = day - timedelta(days=day.weekday())
    if kind == "week":
        return Period(monday, monday + timedelta(days=7), kind)
    after = (monday.replace(day=1) + timedelta(days=31)).replace(day=1)
    return Period(_first_monday(monday.replace(day=1)), _first_monday(after), kind)


def smaller(kind: Kind) -> tuple[Kind, ...]:
    """What a summary of this kind is made of, beside episodes that are in none of these."""
    return KINDS[: KINDS.index(kind)]


def enough(kind: Kind, items: int, memories: int) -> bool:
    """A summary of one summary says nothing new."""
    return memories >= LEAST and (kind == "day" or items > 1)


def due(found: Iterable[Uncovered], waiting: Collection[tuple[str, Period]], now: datetime) -> list[tuple[str, Period]]:
    """Scopes with periods to be summarised now, the smaller first, then the older. `waiting`: those whose summaries are
    asked for; a larger period waits until those within it are there."""
    rows = list(found)
    busy: dict[str, list[Period]] = defaultdict(list)
    for scope, period in waiting:
        busy[scope].append(period)
    chosen: list[tuple[str, Period]] = []
    for kind in KINDS:
        sums: dict[tuple[str, Period], tuple[int, int]] = defaultdict(lambda: (0, 0))
        for row in rows:
            if row.kind is None or row.kind in smaller(kind):
                key = (row.scope, period_of(kind, row.day))
                sums[key] = (sums[key][0] + row.items, sums[key][1] + row.memories)
        ready = [
            (scope, period)
            for (scope, period), (items, memories) in sums.items()
            if period.closed(now)
            and enough(kind, items, memories)
            and not any(period.start <= other.start < period.end for other in busy[scope])
        ]
        for scope, period in sorted(ready, key=lambda one: (one[1], one[0])):
            busy[scope].append(period)
            chosen.append((scope, period))
    return chosen


def pieces(text: str) -> int:
    """About how many tokens of a model a text has, rather too many than too few; with its line around it."""
    return math.ceil(max(_PIECES_A_WORD * len(tokens(text)), len(text) / _CHARS_A_PIECE)) + _LINE


def shortened(text: str, budget: int) -> str:
    """As much of it as the budget holds."""
    while pieces(text) > budget and len(text) > 1:
        text = text[: max(1, min(int(budget * _CHARS_A_PIECE), len(text) * 3 // 4))]
    return text


def prompts(sizes: Sequence[int], budget: int) -> list[int]:
    """How many texts in a row, of so many tokens each, go into each of as few prompts as it takes, about equally long.
    One that is larger than the budget goes alone."""
    total = sum(sizes)
    for count in range(max(1, math.ceil(total / max(1, budget))), len(sizes) + 1):
        cut = _cut(sizes, total / count)
        if all(sum(sizes[a:b]) <= budget for a, b in cut):
            return [b - a for a, b in cut]
    return [1] * len(sizes)


def _cut(sizes: Sequence[int], each: float) -> list[tuple[int, int]]:
    """Places of the cuts: a part ends with the text in whose middle its share is full."""
    parts: list[tuple[int, int]] = []
    start, before = 0, 0.0
    for i, size in enumerate(sizes):
        if i > start and before + size / 2 > each * (len(parts) + 1):
            parts.append((start, i))
            start = i
        before += size
    return [*parts, (start, len(sizes))]


def _first_monday(first: datetime) -> datetime:
    return first + timedelta(days=-first.weekday() % 7)
