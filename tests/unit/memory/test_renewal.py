"""Which earlier statement does a sentence renew, if any? With the vectors that the encoder gives, and no database."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotset.embedder import shared_embedder
from hotset.memory.facts import read
from hotset.memory.renewal import SURE, Known, renewed
from hotset.memory.words import terms

TEXT = st.text(max_size=200)
ECHO = ["Echo-3 stands in hall B.", "Echo-3 runs the firmware Osprey.", "Tom looks after Echo-3."]


def known(text: str) -> Known:
    (meaning,), (prop,) = shared_embedder().embed([text])
    return Known(read(text), terms(text), meaning, prop)


def shares(new: str, earlier: list[str], others: tuple[str, ...] = ()) -> list[float]:
    before = [known(text) for text in earlier]
    return renewed(known(new), before, [*before, *map(known, others)])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Acme's refund window is 14 days.", "Acme's refund window is now 30 days."),
        ("Maria lives in Porto.", "Maria has moved from Porto to Lyon."),
        ("Quartz uses MySQL as its database.", "Quartz migrated from MySQL to Postgres."),
        ("The deadline for Atlas is May 3.", "The deadline for Atlas was moved from May 3 to June 1."),
    ],
)
def test_what_says_that_it_changes_a_value_surely_renews_it(old: str, new: str) -> None:
    assert shares(new, [old])[0] >= SURE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Maria likes jazz.", "Maria likes hiking."),
        ("Acme's refund window is 14 days.", "Globex's refund window is 30 days."),
        ("Maria lives in Porto.", "Maria's favourite colour is blue."),
        ("Edith enjoys pottery.", "Edith is keen on swimming."),
        ("Tom reports to Dana Wolf.", "Priya now reports to Dana Wolf."),
    ],
)
def test_what_may_be_true_beside_it_does_not_surely_renew_it(old: str, new: str) -> None:
    assert shares(new, [old])[0] < SURE


def test_a_change_in_words_that_no_rule_knows_is_told_by_what_else_its_value_is() -> None:
    new = "We flashed Echo-3 with Firefly."
    without = shares(new, ECHO)
    likely = shares(new, ECHO, others=("Echo-9 runs the firmware Firefly.",))
    assert likely.index(max(likely)) == 1
    assert likely[1] > without[1]


@settings(deadline=None, max_examples=25)
@given(TEXT, st.lists(TEXT, max_size=3))
def test_shares_of_any_texts_are_shares(new: str, earlier: list[str]) -> None:
    found = shares(new, earlier)
    assert len(found) == len(earlier)
    assert all(0 <= share <= 1 for share in found)
    assert sum(found) <= 1.000001
