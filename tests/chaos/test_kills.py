"""A hundred kills of the worker while it works: `make chaos`. HOTSET_TEST_KILLS sets another number."""

from __future__ import annotations

import json

import pytest

from kills import kill_under_load, kills_asked
from stack import Stack


@pytest.mark.timeout(1800)
def test_a_hundred_kills(stack: Stack) -> None:
    figures = kill_under_load(stack, kills=kills_asked(), jobs=6 * kills_asked())
    print(json.dumps(figures))
    assert figures["lost"] == 0 and figures["doubled"] == 0, figures
    assert figures["hits"] >= 0.9 * kills_asked(), figures
