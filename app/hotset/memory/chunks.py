"""Long texts in parts of whole sentences, at most 200 tokens: as many as fit, the last sentence of a part again in the
next; or cut where the meaning changes most between two sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

from hotset.memory.words import sentences, tokens

Chunking = Literal["sentences", "semantic"]

MOST_TOKENS = 200
#: English words are 1.3 pieces of the model's vocabulary on average; punctuation counts, too.
_PIECES_A_WORD = 1.4
#: A text is cut at this share of its places between two sentences, where these are least alike (as in LlamaIndex's and
#: LangChain's semantic splitters, whose default is one in twenty; sentences that are said to agents change more often).
_CUT = 0.2


def chunks(text: str, most: int = MOST_TOKENS) -> list[str]:
    """The text itself when it is short enough. A sentence that is longer by itself is cut between words."""
    return [text] if _size(text) <= most else _packed(_pieces(text, most), most)


def semantic_chunks(text: str, meanings: Callable[[list[str]], Iterable[Any]], most: int = MOST_TOKENS) -> list[str]:
    """As `chunks`, but parts end where the meaning changes, and only what is still too long is packed. `meanings`: unit
    vectors of sentences, in their order."""
    if _size(text) <= most:
        return [text]
    pieces = _pieces(text, most)
    alike = [float(a @ b) for a, b in pairwise(meanings(pieces))]
    cuts = sorted(sorted(range(len(alike)), key=alike.__getitem__)[: round(_CUT * len(alike))])
    bounds = [0, *(i + 1 for i in cuts), len(pieces)]
    return [part for start, end in pairwise(bounds) for part in _packed(pieces[start:end], most)]


def _pieces(text: str, most: int) -> list[str]:
    return [piece for sentence in sentences(text) for piece in _cut(sentence, most)]


def _packed(pieces: Sequence[str], most: int) -> list[str]:
    parts: list[list[str]] = [[]]
    for piece in pieces:
        if parts[-1] and _size(" ".join([*parts[-1], piece])) > most:
            last = parts[-1][-1]
            parts.append([last] if _size(f"{last} {piece}") <= most else [])
        parts[-1].append(piece)
    return [" ".join(part) for part in parts]


def _size(text: str) -> float:
    return _PIECES_A_WORD * len(tokens(text))


def _cut(sentence: str, most: int) -> list[str]:
    words = sentence.split()
    size = max(1, int(most / _PIECES_A_WORD / max(1.0, len(tokens(sentence)) / max(1, len(words)))))
    return [" ".join(words[i : i + size]) for i in range(0, len(words), size)]
