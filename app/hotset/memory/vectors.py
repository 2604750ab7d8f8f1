"""Vectors as Postgres reads them: pgvector's halfvec in its binary form. As text one takes the client a millisecond."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

if TYPE_CHECKING:
    import numpy as np

    from hotset.embedder.embedder import Vectors

    Vector = np.ndarray[tuple[int], np.dtype[np.float32]]


class Embeds(Protocol):
    """What memory needs of an embedder."""

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        """Of the meaning, and of the property: see `Embedder.embed`."""
        ...


class HalfVector(bytes):
    """A parameter; what halfvec_recv reads: the number of components and a 0, two bytes each, then the components, of
    two bytes each, too, all the network's way round."""

    __slots__ = ()


class _AsItIs(Dumper):
    format = Format.BINARY

    def dump(self, obj: HalfVector) -> bytes:
        return obj


def understand(connection: psycopg.Connection[Any]) -> None:
    """From now on this connection takes a HalfVector as a parameter, where the statement says `::halfvec`."""
    connection.adapters.register_dumper(HalfVector, _AsItIs)


def sent(vector: Vector) -> HalfVector:
    """As a halfvec: 11 bits of mantissa a component."""
    return HalfVector(len(vector).to_bytes(2, "big") + b"\0\0" + vector.astype(">f2").tobytes())


def received(row: bytes) -> Vector:
    """What pgvector's halfvec_send gives."""
    (vector,) = received_many([row])
    return vector


def received_many(rows: Sequence[bytes]) -> Vectors:
    """(number of rows, components)."""
    import numpy as np

    numbers = np.frombuffer(b"".join([row[4:] for row in rows]), np.uint16)
    return _floats()[numbers].reshape(len(rows), -1 if rows else 0)


@cache
def _floats() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Of each two bytes as they come, read as this machine reads a uint16: the number that they stand for. Looked up,
    50 vectors take 40 µs; numpy converts them in 180."""
    import numpy as np

    return np.arange(1 << 16, dtype=np.uint16).view(">f2").astype(np.float32)
