"""Segments give back what went in, or say that they cannot."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotset.memory.segments import SegmentDamaged, pack, unpack


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.uuids(), st.text(min_size=1).filter(lambda t: "\x00" not in t), min_size=1, max_size=20))
def test_what_goes_in_comes_out(texts: dict[UUID, str]) -> None:
    body, checksum, _ = pack(texts)
    assert unpack(body, checksum) == texts


def test_a_changed_byte_is_noticed() -> None:
    body, checksum, _ = pack({UUID(int=1): "a text"})
    with pytest.raises(SegmentDamaged):
        unpack(body[:-1] + bytes([body[-1] ^ 1]), checksum)
