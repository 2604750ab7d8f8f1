"""What a simulated model says: words without meaning, marked as such, the same for the same prompt and seed."""

from __future__ import annotations

import json
import random
from typing import Any

from hotset.modelserver.shapes import MARK, fill

__all__ = ["MARK", "Words"]

_WORDS = """a able about after agent all also an and answer any are as ask at batch be because before best between
both but by cache call case change check choice clear code common cost data deadline decide depends design detail
each early easy either end enough even every example fact fair fast few field first fit for form found free from
full gain give given goal good group half hand hard have here high hold how idea if in is it job just keep kind
know large last late lead least left less let level like limit line list load long low main make many may mean
measure memory model more most much must name near need new next no none not note now of often old on one only
open or order other our out over own part path place plan point prompt put queue quick rate read reason rest
result right risk room row rule run same say second see set share short show side simple since size slow small so
some soon start state step still swap take task test than that the then there these thing this those time to
token too trade true turn two under until up use value wait want warm was way well what when where which while
who why will with word work worth would write yet you"""
_TEXT = 4096  # tokens drawn at the start; an answer is a stretch of them, as drawing each would cost more than the rest
_THINKING_SHARE = 0.4


class Vocabulary:
    """The tokens that answers are cut from; seeded once for a server."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        words = rng.choices(_WORDS.split(), k=_TEXT)
        stops = rng.choices(("", "", "", "", "", "", "", "", ",", "."), k=_TEXT)
        tokens = [f" {word}{stop}" for word, stop in zip(words, stops, strict=True)]
        self._tokens = tokens + tokens

    def stretch(self, start: int, count: int) -> str:
        """`count` tokens from `start` on, round and round."""
        start %= _TEXT
        parts = []
        while count > 0:
            taken = min(count, _TEXT)
            parts.append("".join(self._tokens[start : start + taken]))
            start, count = (start + taken) % _TEXT, count - taken
        return "".join(parts)


class Words:
    """One answer of `tokens` tokens, cut where the stream needs it. Thinking comes first; each part starts marked.

    `shape` None: prose. "json" or a JSON schema: an object that fits; it carries the mark inside.
    """

    def __init__(
        self, vocabulary: Vocabulary, *, tokens: int, thinks: bool, shape: str | dict[str, Any] | None, offset: int
    ) -> None:
        self._vocabulary = vocabulary
        self._offset = offset
        self._tokens = tokens
        self._thoughts = min(int(tokens * _THINKING_SHARE) or 1, tokens - 1) if thinks else 0
        self._document = None if shape is None else json.dumps(fill(shape, random.Random(offset)))

    def between(self, start: int, end: int) -> tuple[str, str]:
        """Tokens [start, end) as (thinking, answer)."""
        turn = self._thoughts
        thinking = self._prose(start, min(end, turn), first=0) if start < turn else ""
        if end <= turn:
            return thinking, ""
        start = max(start, turn)
        if self._document is None:
            return thinking, self._prose(start, end, first=turn)
        spread, count = self._document, self._tokens - turn
        return thinking, spread[len(spread) * (start - turn) // count : len(spread) * (end - turn) // count]

    def _prose(self, start: int, end: int, *, first: int) -> str:
        if start == first:
            return MARK + self._vocabulary.stretch(self._offset + start + 1, end - start - 1)
        return self._vocabulary.stretch(self._offset + start, end - start)
