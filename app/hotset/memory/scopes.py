"""Scopes: who a memory belongs to. `tenant`, or `project:…`, `agent:…`, `task:…`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hotset.errors import InvalidMemory

KINDS = ("project", "agent", "task")
_SCOPE = re.compile(r"tenant|(?:project|agent|task):[^\x00-\x1f]{1,190}")


def parse_scope(text: str) -> str:
    """The scope as it is stored. Raises InvalidMemory."""
    if not isinstance(text, str) or not _SCOPE.fullmatch(text):
        raise InvalidMemory(
            f"{text!r} is no scope.",
            remedy="It is tenant, or project:NAME, agent:NAME, task:NAME (at most 190 characters).",
        )
    return text


def parse_scopes(given: str | Sequence[str]) -> tuple[str, ...]:
    """One or several (at most 20), without repetition."""
    scopes = tuple(dict.fromkeys([given] if isinstance(given, str) else given))
    if not 1 <= len(scopes) <= 20:
        raise InvalidMemory("A search reads 1 to 20 scopes.")
    return tuple(parse_scope(s) for s in scopes)
