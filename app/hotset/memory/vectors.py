"""Vectors as Postgres reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hotset.embedder.embedder import Vectors


class Embeds(Protocol):
    """What memory needs of an embedder."""

    def embed(self, texts: Sequence[str]) -> Vectors: ...


def literal(vector: Iterable[float]) -> str:
    """`[0.1,…]` for a halfvec (11 bits of mantissa: five digits are more than it holds)."""
    return "[" + ",".join(f"{x:.5g}" for x in vector) + "]"
