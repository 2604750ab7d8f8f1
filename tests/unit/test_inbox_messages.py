"""Messages as data: what is accepted is stored as it was said, and what keys compare."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotset.errors import InvalidMessage, LeaseLost, UnknownMessage
from hotset.messaging import new_message
from hotset.messaging.message import DEEPEST, reason_of

TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=8,
)


def made(body: Any = "x", **changes: Any) -> Any:
    said = {"to": "a", "from_": None, "topic": None, "key": None, "job": None, "max_deliveries": 5, "max_bytes": 10_000}
    said |= changes
    return new_message(said.pop("to"), body, **said)


@given(JSON)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_body_comes_back_as_it_was(body: Any) -> None:
    assert json.loads(made(body, max_bytes=1_000_000).body) == body


def test_what_a_key_compares() -> None:
    first = made({"a": 1}, key="k")
    assert first.body_hash == made({"a": 1}, key="k").body_hash
    others = [made({"a": 2}), made({"a": 1}, to="b"), made({"a": 1}, topic="t"), made({"a": 1}, job=UUID(int=1))]
    assert first.body_hash not in {other.body_hash for other in others}


def test_the_limits() -> None:
    deep: Any = "x"
    for _ in range(DEEPEST):
        deep = {"d": deep}
    assert made(deep).body
    assert made("é" * 4_999).body
    for wrong in (
        {"body": [deep]},
        {"body": "é" * 5_000},
        {"body": {"a\x00": 1}},
        {"body": b"x"},
        {"to": " "},
        {"to": None},
        {"to": "x" * 201},
        {"topic": ""},
        {"key": "x" * 501},
        {"job": "no id"},
        {"max_deliveries": True},
        {"max_deliveries": 1001},
    ):
        with pytest.raises(InvalidMessage):
            made(**wrong)


def test_a_recursive_body_is_refused_and_not_followed_for_ever() -> None:
    body: list[Any] = []
    body.append(body)
    with pytest.raises(InvalidMessage, match="deeper"):
        made(body)


def test_a_reason_can_be_stored() -> None:
    assert reason_of("a\x00b\ud800") == "a\ufffdb?"
    assert len(reason_of("x" * 5000)) == 2000
    assert reason_of(ValueError("no")) == "no"


def test_errors_say_what_to_do() -> None:
    assert LeaseLost("m").remedy and UnknownMessage("m").exit_status == 1
