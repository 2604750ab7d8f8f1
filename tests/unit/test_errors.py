"""The error tree: as drawn, with facts that others act upon."""

import copy
import inspect
import pickle
import re
from collections.abc import Callable

import pytest

from hotset import errors
from hotset.errors import HotsetError, did_you_mean

CLASSES = {name: cls for name, cls in vars(errors).items() if inspect.isclass(cls) and issubclass(cls, HotsetError)}
MAKE: dict[str, Callable[[], HotsetError]] = {
    "UnknownAgent": lambda: errors.UnknownAgent("ab", ["abc"]),
    "UnknownJob": lambda: errors.UnknownJob("j1"),
    "UnknownMessage": lambda: errors.UnknownMessage("m1"),
    "UnknownMemory": lambda: errors.UnknownMemory("m1"),
    "EmbedderMissing": lambda: errors.EmbedderMissing("It is not installed."),
    "CannotDecrypt": lambda: errors.CannotDecrypt("The prompt of job j1"),
    "LeaseLost": lambda: errors.LeaseLost("m1"),
    "InvalidBatch": lambda: errors.InvalidBatch(3, "The prompt is empty.", ["j1", "j2"]),
    "GenerationFailed": lambda: errors.GenerationFailed("It broke.", status=500, retryable=False, remedy="Look."),
    "RateLimited": lambda: errors.RateLimited("Too much.", retry_after_s=2.5),
    "JobFailed": lambda: errors.JobFailed("No.", job_id="j1", state="failed", error_kind="RunTimeout", remedy="Look."),
}


def make(name: str) -> HotsetError:
    return MAKE[name]() if name in MAKE else CLASSES[name]("It broke.", remedy="Look.")


def drawn() -> dict[str, str | None]:
    """Class -> its parent, as the module's docstring draws them by indentation."""
    parents: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if not (found := re.match(r"^[\s│├└─]*?([A-Z]\w+)(?:\s{2}|$)", line)):
            continue
        depth = found.start(1)
        above = [(d, name) for d, name in above if d < depth]
        parents[found[1]] = above[-1][1] if above else None
        above.append((depth, found[1]))
    return parents


def test_the_tree_is_as_drawn() -> None:
    real = {name: cls.__bases__[0].__name__ for name, cls in CLASSES.items()}
    assert drawn() == real | {"HotsetError": None}


USAGE = {n for n, c in CLASSES.items() if issubclass(c, errors.UsageError)}
RETRYABLE = {
    "Unavailable",
    "StoreUnavailable",
    "BrokerUnavailable",
    "ModelServerUnavailable",
    "GenerationFailed",
    "RateLimited",
    "ResultTimeout",
}
FAILED_THOUGH_USAGE = {
    "UnknownJob",
    "UnknownMessage",
    "UnknownMemory",
    "MemoryForbidden",
    "MemoryNotSetUp",
    "EmbedderMissing",
    "IdempotencyConflict",
    "IllegalTransition",
}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_facts(name: str) -> None:
    error = make(name)
    assert error.kind == name
    assert error.exit_status == (2 if name in USAGE - FAILED_THOUGH_USAGE else 1)
    if name != "GenerationFailed":
        assert error.retryable is (name in RETRYABLE)


def test_whether_a_generation_may_be_retried_is_what_the_server_said() -> None:
    assert errors.GenerationFailed("It broke.").retryable is True
    assert errors.GenerationFailed("It broke.").status is None
    assert errors.GenerationFailed("It broke.", retryable=False).retryable is False


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_errors_say_what_happened_and_what_to_do(name: str) -> None:
    error = make(name)
    assert error.message
    assert error.remedy
    assert str(error) == f"{error.message} {error.remedy}"


def test_an_error_without_remedy_has_no_trailing_space() -> None:
    assert str(HotsetError("It broke.")) == "It broke."


@pytest.mark.parametrize("name", sorted(CLASSES))
@pytest.mark.parametrize("through", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_errors_cross_a_process_whole(name: str, through: Callable[[HotsetError], HotsetError]) -> None:
    error = make(name)
    back = through(error)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_a_bad_row_says_what_was_accepted() -> None:
    assert "2 jobs of earlier chunks were accepted" in str(make("InvalidBatch"))
    none = errors.InvalidBatch(0, "Bad.", [])
    assert "No job was accepted" in str(none)
    assert none.accepted == ()


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("abcd", "Did you mean 'abcde'?"),
        ("abce", "Did you mean 'abcde' or 'abcef'?"),
        ("zzzz", "`hotset x` shows those there are."),
        ("", "`hotset x` shows those there are."),
    ],
)
def test_did_you_mean(word: str, hint: str) -> None:
    known = ["abcde", "abcef"] if word == "abce" else ["abcde"]
    assert sorted(did_you_mean(word, iter(known), "hotset x")) == sorted(hint)
