"""Vectors as Postgres reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from hotset.embedder.embedder import Vectors

    Vector = np.ndarray[tuple[int], np.dtype[np.float32]]


class Embeds(Protocol):
    """What memory needs of an embedder."""

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        """Of the meaning, and of the property: see `Embedder.embed`."""
        ...


def literal(vector: Vector) -> str:
    """`[0.1,…]` for a halfvec (11 bits of mantissa: five decimals of a unit vector are more than it holds)."""
    return str(vector.round(5).tolist())


def received(sent: bytes) -> Vector:
    """What pgvector's halfvec_send gives: two 16-bit numbers, then the components, each the network's way round."""
    import numpy as np

    return np.frombuffer(sent, ">f2", offset=4).astype(np.float32)
