import math

import pytest

from hotset.modelserver.keep_alive import parse_keep_alive
from hotset.modelserver.refusals import Refusal


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        (0, 0.0),
        (0.0, 0.0),
        (300, 300.0),
        (-1, math.inf),
        ("0", 0.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        (".5h", 1800.0),
        ("250ms", 0.25),
        ("10µs", 1e-5),
        ("+2s", 2.0),
        ("-1m", math.inf),
    ],
)
def test_reads(said: object, seconds: float | None) -> None:
    assert parse_keep_alive(said) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("300", 'time: missing unit in duration "300"'),
        ("5 m", 'time: unknown unit " m" in duration "5 m"'),
        ("5d", 'time: unknown unit "d" in duration "5d"'),
        ("", 'time: invalid duration ""'),
        ("soon", 'time: invalid duration "soon"'),
        ("--1s", 'time: invalid duration "--1s"'),
        ("1s-1s", 'time: invalid duration "1s-1s"'),
        (True, "Unsupported type: 'bool'"),
        ([5], "Unsupported type: '[]interface {}'"),
    ],
)
def test_refuses(said: object, words: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_keep_alive(said)
    assert (caught.value.status, caught.value.message) == (400, words)
