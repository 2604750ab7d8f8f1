"""Durations as people write them: `90`, `1.5`, `"15m"`, `"1h30m"`, `"250ms"`. Always model seconds."""

from __future__ import annotations

import math
import re

from hotset.errors import InvalidJob

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
#: Ten years: longer is a mistake of units, and would overflow the database's timestamps.
LONGEST_S = 3650 * 86400.0


def parse_duration(value: str | float | int, what: str) -> float:
    """Seconds from a number of seconds or a text such as `"1h30m"`; `what` names the setting in the error.

    Raises InvalidJob for anything else: negative, zero, not finite, over ten years, or an unknown unit.
    """
    seconds = _seconds(value)
    if seconds is None or not math.isfinite(seconds) or not 0 < seconds <= LONGEST_S:
        raise InvalidJob(
            f"{what}={value!r} is not a duration above zero.",
            remedy="Give seconds (90) or a text with units, such as '90s', '15m', '1h30m', '2d'.",
        )
    return seconds


def _seconds(value: str | float | int) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) <= LONGEST_S else None  # an int may be too large for a float
    if not isinstance(value, str):
        return None
    text = value.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d{1,18}(\.\d+)?", text):
        return float(text)
    if len(text) <= 64 and re.fullmatch(f"(?:{_PART.pattern})+", text):
        return sum(float(number) * _UNIT_S[unit] for number, unit in _PART.findall(text))
    return None
