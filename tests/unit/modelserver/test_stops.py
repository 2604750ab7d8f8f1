import random

import pytest

from hotset.modelserver.stops import Stops


def fed(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    machine, said = Stops(stops), ""
    for piece in pieces:
        text, ended = machine.feed(piece)
        said += text
        if ended:
            return said, True
    return said + machine.rest(), False


@pytest.mark.parametrize(
    ("stops", "text", "said", "ended"),
    [
        ([], "all of it", "all of it", False),
        ([""], "all of it", "all of it", False),
        (["END"], "before END after", "before ", True),
        (["END", "fore"], "before END", "be", True),
        (["ENDS"], "the END", "the END", False),
        (["aab"], "aaab", "a", True),
    ],
)
def test_however_it_is_cut_it_ends_at_the_first_stop(stops: list[str], text: str, said: str, ended: bool) -> None:
    rng = random.Random(1)
    for _ in range(50):
        cuts = sorted(rng.randrange(len(text) + 1) for _ in range(4))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert fed(stops, pieces) == (said, ended)


def test_what_cannot_be_a_stop_is_said_at_once() -> None:
    machine = Stops(["stop"])
    assert machine.feed("abc") == ("abc", False)
    assert machine.feed("abst") == ("ab", False)
    assert machine.feed("ay") == ("stay", False)
