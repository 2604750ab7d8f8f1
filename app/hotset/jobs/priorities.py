"""Named priorities. A higher one goes first among jobs that can still meet their deadline; the bound on waiting
goes before priority, so that low ones age and never starve."""

from __future__ import annotations

from enum import IntEnum

from hotset.errors import InvalidJob, did_you_mean


class Priority(IntEnum):
    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3

    @property
    def label(self) -> str:
        return self.name.lower()


LABELS = tuple(p.label for p in Priority)
_BY_LABEL = {p.label: p for p in Priority}


def parse_priority(value: str | int | Priority) -> Priority:
    """`"high"`, 2 or Priority.HIGH; anything else is an InvalidJob that lists the names."""
    if type(value) is Priority:
        return value
    if isinstance(value, str) and value.lower() in _BY_LABEL:
        return _BY_LABEL[value.lower()]
    if isinstance(value, int) and not isinstance(value, bool) and value in list(Priority):
        return Priority(value)
    hint = did_you_mean(str(value), LABELS, "hotset run --help")
    raise InvalidJob(f"{value!r} is not a priority (there are {', '.join(LABELS)}).", remedy=hint)
