"""The Lua scripts on a real Valkey, held against the simulator's lanes: one rule in both worlds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotset.broker import Lanes
from hotset.errors import BrokerUnavailable
from hotset.jobs import Priority, Routing
from hotset.scheduling import Selector
from hotset.simulator.lanes import Lane

BASE = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def lanes(broker_url: str) -> Iterator[Lanes]:
    lanes = Lanes(broker_url)
    yield lanes
    lanes.close()


def routing(number: int, *, arrival_s: float = 0, deadline_s: float = 0, suspect: bool = False) -> Routing:
    def at(seconds: float) -> datetime:
        return BASE + timedelta(seconds=seconds)

    return Routing(
        UUID(int=number), "a", "qwen", "default", Priority.NORMAL, at(arrival_s), at(deadline_s), suspect=suspect
    )


# Deadlines lie ten years away on either side of the broker's own clock, which the scripts read by themselves.
PAST_S = -10 * 365 * 86400.0
STEP = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 30), st.integers(0, 50), st.integers(0, 50), st.booleans()),
    st.tuples(st.just("claim"), st.sampled_from(["overdue", "savable", "oldest"])),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, max_size=40))
def test_selectors_take_the_same_job_in_redis_and_in_the_simulator(lanes: Lanes, steps: list[tuple]) -> None:
    lanes.redis.flushdb()
    reference = Lane()
    claims = 0
    for step in steps:
        if step[0] == "add":
            _, number, arrival, deadline, past = step
            member = str(UUID(int=number))
            if member in reference:
                continue
            deadline_s = deadline + (PAST_S if past else 0)
            lanes.publish([routing(number, arrival_s=arrival, deadline_s=deadline_s)])
            reference.add(member, arrival, deadline_s)
        else:
            selector: Selector = step[1]
            # The broker's now lies between the two worlds of deadlines: any moment between does.
            expected = reference.pick(selector, PAST_S / 2)
            claims += 1
            message = lanes.claim("qwen", "normal", selector, f"claim-{claims}")
            assert (json.loads(message)["headers"]["id"] if message else None) == expected
            if expected is not None:
                reference.remove(expected)
    state = lanes.snapshot({"qwen": 60})
    waiting = {lane.name: lane for lane in state.lanes}
    assert sum(lane.waiting for lane in state.lanes) == len(reference)
    if len(reference):
        count, due = reference.savable(PAST_S / 2)
        lane = waiting["normal"]
        assert lane.savable == count
        assert lane.next_deadline == (None if due is None else BASE.timestamp() + due)
        assert lane.oldest_arrival == BASE.timestamp() + (reference.oldest_arrival() or 0)


def test_a_job_published_twice_waits_once(lanes: Lanes) -> None:
    lanes.publish([routing(1)])
    lanes.publish([routing(1)])
    assert lanes.lengths(["qwen"]) == {"qwen": 1}
    assert lanes.claim("qwen", "normal", "oldest", "c1")
    assert lanes.claim("qwen", "normal", "oldest", "c2") is None


def test_an_abandoned_claim_returns_to_its_place_and_a_renewed_one_stays(lanes: Lanes) -> None:
    lanes.publish([routing(1, arrival_s=1, deadline_s=5), routing(2, arrival_s=2, deadline_s=4)])
    before = lanes.snapshot({"qwen": 60}).lanes
    assert lanes.claim("qwen", "normal", "oldest", "c1")
    assert lanes.restore_abandoned(older_s=60) == 0
    lanes.renew(["c1", "never-was"])
    assert lanes.restore_abandoned(older_s=-1) == 1
    assert lanes.snapshot({"qwen": 60}).lanes == before
    assert lanes.redis.hlen("hs:unacked") == 0 and lanes.redis.zcard("hs:unacked:index") == 0


def test_an_acknowledged_claim_is_gone_and_one_given_back_is_not(lanes: Lanes) -> None:
    lanes.publish([routing(1), routing(2)])
    lanes.claim("qwen", "normal", "oldest", "c1")
    lanes.claim("qwen", "normal", "oldest", "c2")
    lanes.ack("c1")
    lanes.give_back("c2")
    assert lanes.lengths(["qwen"]) == {"qwen": 1}
    assert lanes.restore_abandoned(older_s=-1) == 0


def test_suspects_wait_in_a_lane_of_their_own(lanes: Lanes) -> None:
    lanes.publish([routing(1, suspect=True), routing(2)])
    assert {lane.name for lane in lanes.snapshot({"qwen": 60}).lanes} == {"suspect", "normal"}


def test_what_waits_nowhere_is_told(lanes: Lanes) -> None:
    lanes.publish([routing(1)])
    assert [j.id.int for j in lanes.missing([routing(1), routing(2)])] == [2]
    lanes.remove("qwen", UUID(int=1))
    assert lanes.snapshot({"qwen": 60}).lanes == ()


ENVELOPE = {"body": "W10=", "headers": {"id": "0" * 32, "task": "hotset.run"}, "properties": {}}


@pytest.mark.parametrize(
    "bad",
    [
        "not json",
        "[]",
        "null",
        '"text"',
        json.dumps({**ENVELOPE, "headers": {"id": 5, "task": "x"}}),
        json.dumps({**ENVELOPE, "headers": {"id": "x" * 65, "task": "x"}}),
        json.dumps({**ENVELOPE, "body": None}),
        "[" * 100_000,
        json.dumps({**ENVELOPE, "body": "x" * 1_100_000}),
        "\x00\xff",
    ],
    ids=lambda b: b[:20],
)
def test_what_cannot_be_read_is_quarantined_and_holds_up_nobody(lanes: Lanes, bad: str) -> None:
    lanes.redis.lpush("qwen", bad, json.dumps(ENVELOPE))
    lanes.snapshot({"qwen": 60})
    assert lanes.redis.lrange("hs:quarantine", 0, -1) == [bad[: 64 * 1024]]
    (trace,) = lanes.take_put_aside()
    assert trace["queue"] == "qwen" and trace["bytes"] == len(bad.encode()) and lanes.take_put_aside() == []
    assert lanes.claim("qwen", "normal", "savable", "c") == json.dumps(ENVELOPE).encode()


def test_a_sweep_takes_fifty_at_most(lanes: Lanes) -> None:
    for i in range(70):
        lanes.redis.lpush("qwen", json.dumps({**ENVELOPE, "headers": {"id": f"id-{i}", "task": "hotset.run"}}))
    assert lanes.snapshot({"qwen": 60}).inbox == {"qwen": 20}
    state = lanes.snapshot({"qwen": 60})
    assert state.inbox == {"qwen": 0} and state.lanes[0].waiting == 70


def test_a_broker_that_is_away_is_named() -> None:
    lanes = Lanes("redis://127.0.0.1:1/0")
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        lanes.publish([routing(1)])
    with pytest.raises(redis.ConnectionError):
        lanes.redis.ping()
