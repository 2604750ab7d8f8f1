"""BERT's uncased WordPiece: text to token ids, as the model was trained with (Devlin et al. 2018).

Written here because the tokenizers package brings a download client and its network stack along.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

#: A longer word is unknown to the vocabulary, as in the original.
_LONGEST_WORD = 100
#: Words are looked up again and again.
_WORDS_KEPT = 50_000


class WordPiece:
    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self._ids = vocabulary
        self._unknown = vocabulary["[UNK]"]
        self._start, self._end = vocabulary["[CLS]"], vocabulary["[SEP]"]
        self._pieces = lru_cache(_WORDS_KEPT)(self._split)

    @classmethod
    def read(cls, path: Path) -> WordPiece:
        """From a vocab.txt: one piece a line, its number is its id."""
        return cls({line: i for i, line in enumerate(path.read_text("utf-8").split("\n")) if line})

    def encode(self, text: str, most: int) -> list[int]:
        """Ids between [CLS] and [SEP], at most `most` with them; what is longer is cut."""
        ids = [self._start]
        for word in _words(text):
            ids.extend(self._pieces(word))
            if len(ids) >= most:
                break
        return [*ids[: most - 1], self._end]

    def _split(self, word: str) -> tuple[int, ...]:
        if len(word) > _LONGEST_WORD:
            return (self._unknown,)
        found: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            end = next((e for e in range(len(word), start, -1) if prefix + word[start:e] in self._ids), None)
            if end is None:
                return (self._unknown,)
            found.append(self._ids[prefix + word[start:end]])
            start = end
        return tuple(found)


def _words(text: str) -> Iterator[str]:
    """Lower case, no accents, no control characters; each sign of punctuation and each CJK character by itself."""
    plain = unicodedata.normalize("NFD", text.lower())
    spaced: list[str] = []
    for char in plain:
        category = unicodedata.category(char)
        if category == "Mn" or char in "\0\ufffd":
            continue
        if char in "\t\n\r" or category == "Zs":
            spaced.append(" ")
        elif category in ("Cc", "Cf"):
            continue
        elif _is_punctuation(char, category) or _is_cjk(ord(char)):
            spaced.append(f" {char} ")
        else:
            spaced.append(char)
    return iter("".join(spaced).split())


def _is_punctuation(char: str, category: str) -> bool:
    return category[0] == "P" or (char.isascii() and not char.isalnum() and char != " ")


def _is_cjk(code: int) -> bool:
    return (
        0x4E00 <= code <= 0x9FFF
        or 0x3400 <= code <= 0x4DBF
        or 0x20000 <= code <= 0x2CEAF
        or 0xF900 <= code <= 0xFAFF
        or 0x2F800 <= code <= 0x2FA1F
    )
