"""The nearest of all that fit are picked as Postgres would order them: by distance, then by id."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from types import SimpleNamespace
from uuid import UUID

import numpy as np
import pytest

from hotset.memory.scan import Compared

INFINITE = float("inf")


def ids(*numbers: int) -> bytes:
    return b"".join(UUID(int=number).bytes for number in numbers)


def compared(
    numbers: Sequence[int],
    distances: Sequence[float],
    kinds: str,
    *,
    names: list[str] | None = None,
    followed: bytes | None = None,
) -> Compared:
    sent = struct.pack(f">{len(distances)}f", *distances)
    return Compared(
        SimpleNamespace(ids=ids(*numbers), whole=sent, about=sent, kinds=kinds, names=names, followed=followed)
    )


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_equally_near_ones_go_by_id_also_where_the_pool_ends(most: int) -> None:
    found = compared([9, 4, 7, 1], [-0.5, -0.5, -0.75, -0.5], "----")
    assert found.nearest(found.about, found.nameless, most) == [2, 3, 1, 0][:most]


def test_what_has_no_vector_comes_last() -> None:
    found = compared([1, 2, 3], [INFINITE, -0.1, INFINITE], "nna")
    assert found.nearest(found.whole, found.named, 2) == [1, 0]
    assert found.nearest(found.whole, found.named, 3) == [1, 0, 2]


def test_kinds_tell_who_is_looked_for_where() -> None:
    found = compared([1, 2, 3, 4], [0.0] * 4, "sna-", names=["tom 4711"])
    masks = (found.summary, found.named, found.whole_name, found.nameless)
    assert [np.flatnonzero(mask).tolist() for mask in masks] == [[0], [1, 2], [2], [3]]
    assert np.flatnonzero(found.among(ids(3, 77, 1))).tolist() == [0, 2]
    assert found.names_of([2]) == {"tom", "4711"}


def test_what_took_a_place_is_followed_to_its_end_and_no_further() -> None:
    """1 by 2 by 3; 4 and 5 by each other; 6 by one that does not fit."""
    found = compared([1, 2, 3, 4, 5, 6], [0.0] * 6, "------", followed=ids(1, 2, 2, 3, 4, 5, 5, 4, 6, 99))
    assert found.followers({0}) == {1, 2}
    assert found.followers({2, 5}) == set()
    assert found.followers({3}) == {3, 4}


def test_of_no_rows_nothing_is_found() -> None:
    none = Compared(SimpleNamespace(ids=None, whole=None, about=None, kinds=None, names=None, followed=None))
    assert none.nearest(none.about, none.named, 32) == []
    assert none.followers(()) == set()
