"""What a check came to: frozen data, with a remedy for whatever is not well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

#: `skipped`: not looked at, and `found` says why. Only `failed` makes the command fail.
Status = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`name` stays the same from one version to the next; `ms` is what it took to find out, in wall time."""

    name: str
    status: Status
    found: str
    remedy: str = ""
    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Family:
    """Checks that build on each other, in their order. They run beside other families, `limit_s` wall seconds at most.

    `remedy`: what to do when the limit is reached.
    """

    name: str
    look: Callable[[], Iterator[Finding]]
    limit_s: float
    remedy: str


def ok(name: str, found: str) -> Finding:
    return Finding(name, "ok", found)


def warning(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, "warning", found, remedy)


def failed(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, "failed", found, remedy)


def skipped(name: str, why: str) -> Finding:
    return Finding(name, "skipped", why)
