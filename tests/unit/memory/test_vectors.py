"""Vectors as Postgres sends them: two bytes a component, looked up in a table."""

from __future__ import annotations

import numpy as np

from hotset.memory.vectors import received_many, sent


def test_every_number_of_two_bytes_is_read_as_numpy_reads_it() -> None:
    numbers = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    rows = [sent(part) for part in np.split(numbers, 128)]
    read = received_many(rows)
    assert read.dtype == np.float32
    assert read.shape == (128, 512)
    np.testing.assert_array_equal(read.ravel(), numbers)


def test_no_rows_are_no_vectors() -> None:
    assert len(received_many([])) == 0
