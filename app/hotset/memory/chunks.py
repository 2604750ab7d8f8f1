"""Long texts in parts: whole sentences, at most 200 tokens, the last sentence of a part again in the next."""

from __future__ import annotations

from hotset.memory.words import sentences, tokens

MOST_TOKENS = 200
#: English words are 1.3 pieces of the model's vocabulary on average; punctuation counts, too.
_PIECES_A_WORD = 1.4


def chunks(text: str, most: int = MOST_TOKENS) -> list[str]:
    """The text itself when it is short enough. A sentence that is longer by itself is cut between words."""
    if _size(text) <= most:
        return [text]
    parts: list[list[str]] = [[]]
    for sentence in (piece for s in sentences(text) for piece in _cut(s, most)):
        if parts[-1] and _size(" ".join([*parts[-1], sentence])) > most:
            last = parts[-1][-1]
            parts.append([last] if _size(f"{last} {sentence}") <= most else [])
        parts[-1].append(sentence)
    return [" ".join(part) for part in parts]


def _size(text: str) -> float:
    return _PIECES_A_WORD * len(tokens(text))


def _cut(sentence: str, most: int) -> list[str]:
    words = sentence.split()
    size = max(1, int(most / _PIECES_A_WORD / max(1.0, len(tokens(sentence)) / max(1, len(words)))))
    return [" ".join(words[i : i + size]) for i in range(0, len(words), size)]
