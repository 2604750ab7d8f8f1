"""How long the chaos tests are: HOTSET_TEST_CHAOS=least (seconds, for `make test`), quick (the default) or full."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from hotset.lab.faults import Length

T = TypeVar("T")

_LENGTHS: dict[str, Length] = {"least": "least", "quick": "quick", "full": "full"}
LENGTH = _LENGTHS[os.environ.get("HOTSET_TEST_CHAOS", "quick")]
FULL = LENGTH == "full"
#: For the tests that have the shortest length, too: they are part of `make test`.
always = pytest.mark.always


def by_length(least: T, quick: T, full: T) -> T:
    return {"least": least, "quick": quick, "full": full}[LENGTH]
