"""`keep_alive`: a number is seconds, a string is a Go duration, negative is for ever (point 23 of what Ollama does)."""

from __future__ import annotations

import math
import re

from hotset.modelserver.refusals import Refusal

FOREVER = math.inf
_LONGEST_S = 9.2e9  # 292 years: Go can write no longer duration
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.+-]*)")


def parse_keep_alive(value: object) -> float | None:
    """Model seconds, or None if nothing was said. Refuses (400) what Ollama refuses."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Refusal(400, f"Unsupported type: '{_go_type(value)}'")
    seconds = _go_duration(value) if isinstance(value, str) else value
    return float(seconds) if 0 <= seconds < _LONGEST_S else FOREVER


def _go_duration(text: str) -> float:
    """As Go's time.ParseDuration reads it."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    total, at = 0.0, 0
    while part := _PART.match(rest, at):
        number, unit = part.groups()
        if not unit:
            raise Refusal(400, f'time: missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise Refusal(400, f'time: unknown unit "{unit}" in duration "{text}"')
        total += float(number) * _UNITS[unit]
        at = part.end()
    if at == 0 or at != len(rest):
        raise Refusal(400, f'time: invalid duration "{text}"')
    return sign * total


def _go_type(value: object) -> str:
    return {bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}.get(type(value), "unknown")
