import itertools
import json
import random
from typing import Any

import pytest

from hotset.modelserver.shapes import MARK, fill
from hotset.modelserver.vectors import DIMENSIONS, embed
from hotset.modelserver.words import Vocabulary, Words

VOCABULARY = Vocabulary(0)


def words(tokens: int, *, thinks: bool = False, shape: Any = None) -> Words:
    return Words(VOCABULARY, tokens=tokens, thinks=thinks, shape=shape, offset=7)


@pytest.mark.parametrize("tokens", [1, 2, 3, 10, 5000, 20_000])
@pytest.mark.parametrize("thinks", [False, True])
def test_however_it_is_cut_it_is_the_same_text(tokens: int, thinks: bool) -> None:
    said = words(tokens, thinks=thinks)
    whole = said.between(0, tokens)
    rng = random.Random(tokens)
    cuts = sorted({0, 1, tokens, *(rng.randrange(1, tokens + 1) for _ in range(5))})
    parts = [said.between(a, b) for a, b in itertools.pairwise(cuts)]
    assert ("".join(p[0] for p in parts), "".join(p[1] for p in parts)) == whole
    assert whole[1].startswith(MARK)
    assert whole[0].startswith(MARK) if thinks and tokens > 1 else whole[0] == ""
    assert sum(len(part.split()) for part in whole) == tokens


def test_json_is_whole_whatever_the_number_of_tokens() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    for tokens in (1, 3, 200):
        said = words(tokens, shape=schema)
        text = "".join(said.between(i, i + 1)[1] for i in range(tokens))
        assert json.loads(text) == {"a": MARK}


@pytest.mark.parametrize(
    ("schema", "check"),
    [
        ("json", lambda v: isinstance(v, dict)),
        ({"type": "integer", "minimum": 5, "maximum": 9}, lambda v: isinstance(v, int) and 5 <= v <= 9),
        ({"type": "number"}, lambda v: isinstance(v, float)),
        ({"type": "boolean"}, lambda v: isinstance(v, bool)),
        ({"type": "null"}, lambda v: v is None),
        ({"type": ["string", "null"]}, lambda v: v == MARK),
        ({"type": "string", "maxLength": 4}, lambda v: len(v) == 4),
        ({"type": "string", "minLength": 50}, lambda v: len(v) == 50),
        ({"enum": ["x", "y"]}, lambda v: v in ("x", "y")),
        ({"const": 3}, lambda v: v == 3),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, lambda v: len(v) == 3),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, lambda v: v is None),
        ({"$ref": "#/$defs/p", "$defs": {"p": {"properties": {"n": {"type": "integer"}}}}}, lambda v: "n" in v),
        (
            {"allOf": [{"type": "object", "properties": {"a": {}}}, {"properties": {"b": {}}}]},
            lambda v: v.keys() == {"a", "b"},
        ),
    ],
)
def test_a_value_fits_its_schema(schema: Any, check: Any) -> None:
    assert check(fill(schema, random.Random(1)))


def test_a_schema_cannot_make_us_write_for_ever() -> None:
    branching = {"properties": {name: {"$ref": "#"} for name in "abcdefgh"}}
    assert len(json.dumps(fill(branching, random.Random(1)))) < 200_000
    assert len(fill({"type": "array", "minItems": 10**9}, random.Random(1))) <= 200


@pytest.mark.parametrize("schema", [{"type": "object", "properties": 3}, {"$ref": "#/nowhere"}, {"allOf": [1]}])
def test_what_is_no_schema_is_an_error(schema: Any) -> None:
    with pytest.raises(ValueError, match="not a JSON schema"):
        fill(schema, random.Random(1))


def test_embeddings_are_near_where_words_are_shared() -> None:
    def near(a: str, b: str) -> float:
        return sum(x * y for x, y in zip(embed(a, 0), embed(b, 0), strict=True))

    assert len(embed("", 0)) == DIMENSIONS
    assert near("the cat sat on the mat", "a cat sat on a mat") > 0.5 > near("the cat sat", "invoice due monday")
    assert near("same", "same") == pytest.approx(1.0)
