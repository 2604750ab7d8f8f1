"""Stop sequences: an answer ends before the first of them, though it may come in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class Stops:
    """Fed with the text of one answer as it comes; holds back what may be the beginning of a stop."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """What may be said by now, and whether the answer ends with it."""
        if not self._stops:
            return text, False
        text = self._held + text
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self._held = ""
            return text[: min(found)], True
        held = next(
            (n for n in range(min(self._longest - 1, len(text)), 0, -1) if self._may_begin(text[-n:])),
            0,
        )
        self._held = text[len(text) - held :]
        return text[: len(text) - held], False

    def rest(self) -> str:
        """What was held back for nothing."""
        held, self._held = self._held, ""
        return held

    def _may_begin(self, end: str) -> bool:
        return any(stop.startswith(end) for stop in self._stops)
