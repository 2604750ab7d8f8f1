"""Worlds for the memory's evaluation: the same for the same seed, and true in themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotset.errors import UsageError
from hotset.lab.memory_fit import FILES
from hotset.lab.memory_world import BUILT_IN, make_world, read_templates

CORPUS = Path(__file__).parents[3] / "fitting" / "corpus"
SOURCES = [*BUILT_IN, *sorted(CORPUS.glob("*.yaml"))]


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.stem if isinstance(s, Path) else s)
def test_each_file_makes_a_world_whose_questions_have_their_answers(source: str | Path) -> None:
    world = make_world(read_templates(source), 0)
    assert world == make_world(read_templates(source), 0)
    assert world != make_world(read_templates(source), 1)
    assert not any("{" in s.text for s in world.sentences)
    for question in world.questions:
        assert "{" not in question.text
        assert all(n < len(world.sentences) for n in (*question.wanted, *question.stale)), question
        if question.as_of is not None:
            assert all(world.sentences[n].at <= question.as_of for n in question.wanted), question
        if question.updated:
            assert max(question.stale) < question.wanted[0], question


def test_what_the_models_are_fitted_on_is_there() -> None:
    assert {path.stem for path in CORPUS.glob("*.yaml")} > set(FILES)


def test_templates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml cannot be read"):
        read_templates("nowhere.yaml")
    (tmp_path / "bad.yaml").write_text("facts: [", "utf-8")
    with pytest.raises(UsageError, match="is not YAML"):
        read_templates(tmp_path / "bad.yaml")
    (tmp_path / "other.yaml").write_text("facts: []", "utf-8")
    with pytest.raises(UsageError, match="no file of templates"):
        read_templates(tmp_path / "other.yaml")
