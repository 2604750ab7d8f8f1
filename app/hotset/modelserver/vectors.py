"""Embeddings without a model: words hashed into a vector, so that texts that share words are near each other."""

from __future__ import annotations

import hashlib
import math
import re

DIMENSIONS = 384
_WORD = re.compile(r"\w+")
_PLACES = 4  # dimensions that a word touches


def embed(text: str, seed: int, dimensions: int = DIMENSIONS) -> list[float]:
    """A normalised vector of 384 numbers, or of the first so many; deterministic for a text and a seed."""
    vector = [0.0] * DIMENSIONS
    for word in _WORD.findall(text.lower()) or [text]:
        digest = hashlib.blake2b(f"{seed} {word}".encode(), digest_size=3 * _PLACES).digest()
        for place in range(_PLACES):
            high, low, sign = digest[3 * place : 3 * place + 3]
            vector[(high * 256 + low) % DIMENSIONS] += 1.0 if sign & 1 else -1.0
    vector = vector[:dimensions]
    length = math.sqrt(sum(value * value for value in vector))
    if length == 0.0:  # every word undid another
        vector[0] = length = 1.0
    return [value / length for value in vector]
