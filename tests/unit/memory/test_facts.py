"""What a sentence is about: rules of English, on sentences of many kinds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotset.memory.chunks import chunks
from hotset.memory.facts import read
from hotset.memory.words import names, sentences, stem, terms, tokens

TEXT = st.text(max_size=300)


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("Acme's refund window is 14 days.", {"acme"}),
        ("The budget of Falcon is 10,000 euros.", {"falcon"}),
        ("Please note that the deadline for Atlas is Friday.", {"atlas"}),
        ("Dana Wolf is in charge of Saffron.", {"saffron"}),
        ("We moved the Atlas review to Friday.", {"atlas"}),
        ("As of Monday, Maria lives in Porto.", {"maria"}),
    ],
)
def test_a_sentence_is_about_whom_it_names(text: str, topic: set[str]) -> None:
    assert read(text).topic == topic


@settings(deadline=None, max_examples=40)
@given(TEXT)
def test_no_text_breaks_the_rules(text: str) -> None:
    assert read(text) == read(text)


@settings(deadline=None, max_examples=40)
@given(TEXT)
def test_words_of_any_text(text: str) -> None:
    assert names(text) <= terms(text)
    assert all(len(t) <= 100 for t in terms(text))
    assert all(stem(t.lower()) for t in tokens(text))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["One short sentence.", "Another is here!", "word " * 250 + "."]), max_size=40))
def test_parts_lose_no_word_and_are_short(parts: list[str]) -> None:
    text = " ".join(parts)
    found = chunks(text)
    assert set(text.split()) <= {word for part in found for word in part.split()}
    assert all(len(part.split()) <= 200 for part in found)


def test_a_part_begins_with_the_last_sentence_of_the_one_before() -> None:
    text = " ".join(f"This is the sentence number {i} of a rather long report." for i in range(60))
    first, second, *_ = chunks(text)
    assert sentences(first)[-1] == sentences(second)[0]
