"""The remedy for a mistyped name where the known ones are few enough to be listed."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from hotset.errors import did_you_mean


def near_or_all(word: str, known: Collection[str]) -> str:
    """`Did you mean ...?`, or all the known names when none is near."""
    if difflib.get_close_matches(word, known, n=1, cutoff=0.5):
        return did_you_mean(word, known, "")
    return f"There are: {', '.join(known)}."
