"""States and transitions, priorities, durations, retries."""

import math
from itertools import pairwise, product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotset.errors import InvalidJob
from hotset.jobs import (
    OPEN,
    TERMINAL,
    TRANSITIONS,
    WAITING,
    Priority,
    RetryPolicy,
    State,
    legal,
    next_attempt_in,
    parse_duration,
    parse_priority,
)
from hotset.jobs.durations import LONGEST_S

#: A busy machine is no failure.
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# states


def test_every_state_is_waiting_or_running_or_terminal() -> None:
    assert WAITING | {State.RUNNING} | TERMINAL == frozenset(State)
    assert not WAITING & TERMINAL
    assert frozenset(State) - TERMINAL == OPEN
    for state in State:
        assert (state.waiting, state.terminal) == (state in WAITING, state in TERMINAL)


# Read: from the row's state to each of its columns'. What is not listed is illegal.
TABLE = {
    "scheduled": {"queued", "cancelled", "expired"},
    "blocked": {"queued", "scheduled", "failed", "cancelled", "expired"},
    "queued": {"running", "failed", "cancelled", "expired"},
    "running": {"queued", "scheduled", "succeeded", "failed", "cancelled", "quarantined"},
    "succeeded": set(),
    "failed": set(),
    "cancelled": set(),
    "expired": set(),
    "quarantined": set(),
}


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_the_table_of_transitions(before: State, after: State) -> None:
    assert legal(before, after) == (after in TABLE[before])


def test_terminal_states_have_no_exit_and_nothing_stays() -> None:
    assert not [(a, b) for a, b in TRANSITIONS if a in TERMINAL]
    assert not [(a, b) for a, b in TRANSITIONS if a == b]


def test_every_terminal_state_can_be_reached_and_every_open_one_ends() -> None:
    assert {b for _, b in TRANSITIONS if b in TERMINAL} == TERMINAL
    for state in OPEN:
        assert any(legal(state, end) for end in TERMINAL)


# priorities


def test_priorities_in_order() -> None:
    assert [p.label for p in sorted(Priority)] == ["low", "normal", "high", "urgent"]


@pytest.mark.parametrize("priority", list(Priority))
def test_a_priority_by_name_number_or_itself(priority: Priority) -> None:
    for value in (priority, int(priority), priority.label, priority.label.upper()):
        assert parse_priority(value) is priority


@pytest.mark.parametrize("value", ["", "hgih", "2", 4, -1, True, False, 1.0, None, [], "normal "])
def test_what_is_no_priority(value: object) -> None:
    with pytest.raises(InvalidJob, match="low, normal, high, urgent") as caught:
        parse_priority(value)  # type: ignore[arg-type]
    assert caught.value.remedy


def test_a_mistyped_priority_gets_a_hint() -> None:
    with pytest.raises(InvalidJob, match="Did you mean 'high'"):
        parse_priority("hihg")


# durations

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 90.0),
        (1.5, 1.5),
        ("90", 90.0),
        (" 90 ", 90.0),
        ("1.5", 1.5),
        ("250ms", 0.25),
        ("15m", 900.0),
        ("1h30m", 5400.0),
        ("1 h 30 m", 5400.0),
        ("2D", 172800.0),
        ("1.5h", 5400.0),
        (LONGEST_S, LONGEST_S),
        ("3650d", LONGEST_S),
    ],
)
def test_durations(value: str | float, seconds: float) -> None:
    assert parse_duration(value, "deadline") == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, math.nan, math.inf, -math.inf, True, False, LONGEST_S * 1.01),
        *(
            "0",
            "0s",
            "-5s",
            "",
            " ",
            "s",
            "5x",
            "5s6",
            "1e3",
            "1,5s",
            "1.s",
            ".5s",
            "nan",
            "inf",
            "3651d",
            "5" * 60 + "d",
        ),
        *(None, [], {}, b"5s"),
        pytest.param(10**400, id="huge"),
        pytest.param(-(10**400), id="-huge"),
    ],
)
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(InvalidJob, match=r"^queue_timeout=.*Give seconds"):
        parse_duration(value, "queue_timeout")  # type: ignore[arg-type]


@calm
@given(st.floats(min_value=0, max_value=LONGEST_S, exclude_min=True))
def test_a_number_of_seconds_is_itself(seconds: float) -> None:
    assert parse_duration(seconds, "d") == seconds


@calm
@given(st.lists(st.tuples(st.integers(0, 9999), st.sampled_from(list(UNITS))), min_size=1, max_size=5))
def test_parts_add_up(parts: list[tuple[int, str]]) -> None:
    total = sum(n * UNITS[unit] for n, unit in parts)
    text = "".join(f"{n}{unit}" for n, unit in parts)
    if 0 < total <= LONGEST_S:
        assert parse_duration(text, "d") == pytest.approx(total)
    else:
        with pytest.raises(InvalidJob):
            parse_duration(text, "d")


@calm
@given(st.text(max_size=80) | st.text("0123456789.smhd ", max_size=80) | st.integers() | st.floats())
def test_whatever_is_given_is_a_duration_in_bounds_or_an_invalid_job(value: str | float) -> None:
    try:
        seconds = parse_duration(value, "d")
    except InvalidJob:
        return
    assert 0 < seconds <= LONGEST_S


# retries

policies = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 10_000),
    backoff_s=st.floats(0.001, 3600),
    max_backoff_s=st.floats(0.001, 86400),
)
jitters = st.floats(0, 1, exclude_max=True)


@calm
@given(policies, st.integers(0, 12_000), jitters)
def test_a_retry_waits_half_to_all_of_its_back_off(policy: RetryPolicy, failures: int, jitter: float) -> None:
    wait = next_attempt_in(policy, retryable=True, failures=failures, jitter=jitter)
    if failures >= policy.max_retries:
        assert wait is None
        return
    assert wait is not None
    full = min(policy.backoff_s * 2.0 ** min(failures, 500), policy.max_backoff_s)
    assert full / 2 <= wait <= full


@calm
@given(policies, st.integers(0, 12_000), jitters)
def test_what_is_not_retryable_is_never_tried_again(policy: RetryPolicy, failures: int, jitter: float) -> None:
    assert next_attempt_in(policy, retryable=False, failures=failures, jitter=jitter) is None


@calm
@given(policies, jitters)
def test_the_back_off_never_shrinks(policy: RetryPolicy, jitter: float) -> None:
    waits = [
        next_attempt_in(policy, retryable=True, failures=n, jitter=jitter) for n in range(min(policy.max_retries, 40))
    ]
    assert all(a is not None and b is not None and a <= b for a, b in pairwise(waits))


def test_the_classic_back_off() -> None:
    waits = [next_attempt_in(RetryPolicy(), retryable=True, failures=n, jitter=0.0) for n in range(4)]
    assert waits == [1.0, 2.0, 4.0, None]
    assert next_attempt_in(RetryPolicy(max_retries=0), retryable=True, failures=0, jitter=0.5) is None
    assert next_attempt_in(RetryPolicy(max_retries=99), retryable=True, failures=50, jitter=0.0) == 150.0
