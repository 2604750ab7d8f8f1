"""The Lua scripts on a real Valkey and a real Redis, held against the simulator's lanes: one rule in all worlds."""

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
from hotset.broker import lanes as live
from hotset.broker.messages import encode
from hotset.errors import BrokerUnavailable
from hotset.jobs import Priority, Routing
from hotset.scheduling import Selector
from hotset.simulator import lanes as simulated
from hotset.simulator.lanes import Queue

BASE = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def lanes(broker_url: str) -> Iterator[Lanes]:
    lanes = Lanes(broker_url)
    yield lanes
    lanes.close()


def routing(
    number: int,
    *,
    arrival_s: float = 0,
    deadline_s: float = 0,
    suspect: bool = False,
    tenant: str = "default",
    agent: str = "a",
    priority: Priority = Priority.NORMAL,
) -> Routing:
    def at(seconds: float) -> datetime:
        return BASE + timedelta(seconds=seconds)

    return Routing(UUID(int=number), agent, "qwen", tenant, priority, at(arrival_s), at(deadline_s), suspect=suspect)


def id_of(message: str | None) -> int | None:
    return None if message is None else UUID(json.loads(message)["headers"]["id"]).int


# Deadlines lie ten years away on either side of the broker's own clock, which the scripts read by themselves.
PAST_S = -10 * 365 * 86400.0
#: The broker's now lies between the two worlds of deadlines: any moment between does.
NOW_S = PAST_S / 2
LANES = {"normal": Priority.NORMAL, "high": Priority.HIGH}
# Names that would break keys put together without care, and that sort by bytes.
TENANTS, AGENTS = ["a", "b:1", "1:a", "\u00e9"], ["x", "normal", "\u20ac:"]
WEIGHTS = {"b:1": 2.0, "\u00e9": 0.5}
_LANE = st.sampled_from(["normal", "normal", "high"])
_ADD = st.tuples(
    st.just("add"),
    st.integers(0, 60),
    st.integers(0, 50),
    st.integers(0, 50),
    st.booleans(),
    _LANE,
    st.sampled_from(TENANTS),
    st.sampled_from(AGENTS),
)
_CLAIM = st.tuples(st.just("claim"), _LANE, st.sampled_from(["overdue", "savable", "oldest"]), st.integers(5, 40))
_END = st.tuples(st.sampled_from(["ack", "ack", "give_back"]), st.integers(0, 3))
_REMOVE = st.tuples(st.just("remove"), st.integers(0, 60))
STEP = st.one_of(_ADD, _ADD, _ADD, _CLAIM, _CLAIM, _CLAIM, _END, _REMOVE)


class Pair:
    """The broker's lanes and the reference, told the same. Times of accounts are ms here: whole numbers, so that both
    come to exactly the same."""

    def __init__(self, lanes: Lanes) -> None:
        lanes.redis.flushdb()
        self.lanes = lanes
        self.reference = Queue(WEIGHTS, credit_s=20_000)
        self.waiting: dict[str, tuple[str, Routing]] = {}
        self.held: dict[str, tuple[str, Routing, int]] = {}

    def add(self, number: int, arrival: int, deadline: int, past: bool, lane: str, tenant: str, agent: str) -> None:
        member = str(UUID(int=number))
        if member in self.waiting or any(str(job.id) == member for _, job, _ in self.held.values()):
            return
        due = deadline + (PAST_S if past else 0)
        job = routing(number, arrival_s=arrival, deadline_s=due, tenant=tenant, agent=agent, priority=LANES[lane])
        self.lanes.publish([job])
        self._refer(lane, job)

    def claim(self, lane: str, selector: Selector, expected_s: int) -> None:
        expected = self.reference.take(lane, selector, NOW_S, expected_s * 1000)
        claim = f"claim-{len(self.held)}-{len(self.waiting)}-{expected}"
        message = self.lanes.claim("qwen", lane, selector, claim, expected_s)
        assert (json.loads(message)["headers"]["id"] if message else None) == expected
        if expected is not None:
            self.held[claim] = (*self.waiting.pop(expected), expected_s * 1000)

    def ack(self, which: int) -> None:
        if which < len(self.held):
            claim = sorted(self.held)[which]
            _, job, charged = self.held.pop(claim)
            took = self.lanes.ack(claim)
            assert took is not None and self.lanes.ack(claim) is None
            self.reference.correct(job.tenant, job.agent, round(took * 1000) - charged)

    def give_back(self, which: int) -> None:
        if which < len(self.held):
            claim = sorted(self.held)[which]
            lane, job, charged = self.held.pop(claim)
            self.lanes.give_back(claim)
            self.reference.correct(job.tenant, job.agent, -charged)
            self._refer(lane, job)

    def remove(self, number: int) -> None:
        self.lanes.remove("qwen", UUID(int=number))
        if known := self.waiting.pop(str(UUID(int=number)), None):
            self.reference.remove(known[0], str(UUID(int=number)), NOW_S)

    def _refer(self, lane: str, job: Routing) -> None:
        arrival, due = ((at - BASE).total_seconds() for at in (job.arrived_at, job.deadline_at))
        self.reference.add(lane, str(job.id), arrival, due, tenant=job.tenant, agent=job.agent)
        self.waiting[str(job.id)] = (lane, job)


@pytest.fixture
def hasty(broker_url: str) -> Iterator[Lanes]:
    """The millisecond that a test's run takes counts as a second."""
    lanes = Lanes(broker_url, weights=WEIGHTS, pace=1000.0, credit_s=20.0)
    yield lanes
    lanes.close()


@pytest.fixture(params=[None, 2], ids=["usual", "three are a crowd"])
def crowd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        monkeypatch.setattr(live, "CROWD", request.param)
        monkeypatch.setattr(simulated, "CROWD", request.param)


@pytest.mark.usefixtures("crowd")
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.integers(1, 90).flatmap(lambda n: st.lists(STEP, min_size=n, max_size=n)))
def test_a_grant_takes_the_same_job_in_redis_and_in_the_simulator(hasty: Lanes, steps: list[tuple]) -> None:
    pair = Pair(hasty)
    for name, *arguments in steps:
        getattr(pair, name)(*arguments)
    state = hasty.snapshot({"qwen": 60})
    seen = {lane.name: lane for lane in state.lanes}
    assert {name for name, jobs in pair.reference.lanes().items() if jobs} == set(seen)
    for name, lane in seen.items():
        jobs = pair.reference.lanes()[name]
        count, due = jobs.savable(NOW_S)
        assert (lane.waiting, lane.savable) == (len(jobs), count)
        assert lane.next_deadline == (None if due is None else BASE.timestamp() + due)
        assert lane.oldest_arrival == BASE.timestamp() + (jobs.oldest_arrival() or 0)
    for job_id in list(pair.waiting):
        pair.remove(UUID(job_id).int)
    left = sorted(key for key in hasty.redis.scan_iter() if ":own:" in key or ":waiting:" in key or ":owner:" in key)
    assert left == [], "nothing that counts jobs outlives them"


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


def claimed(lanes: Lanes, count: int, expected_s: float = 10.0, lane: str = "normal") -> list[int | None]:
    return [id_of(lanes.claim("qwen", lane, "savable", f"c{i}", expected_s)) for i in range(count)]


def test_the_live_credit_is_the_simulators() -> None:
    assert (live.CREDIT_RUNS, live.CROWD) == (simulated.CREDIT_RUNS, simulated.CROWD)


def test_a_crowd_that_is_late_is_served_in_turn(broker_url: str) -> None:
    """Whoever asks again could be in time, those who wait for their first answer are late."""
    lanes = Lanes(broker_url)
    agents = range(3 * live.CROWD)
    lanes.publish([routing(i, arrival_s=PAST_S + i, deadline_s=PAST_S + i, agent=f"a{i}") for i in agents])
    for i in agents:
        assert id_of(lanes.claim("qwen", "normal", "savable", f"c{i}", 10.0)) == i
        lanes.publish([routing(1000 + i, arrival_s=i, deadline_s=i, agent=f"a{i}")])
    lanes.close()


def test_a_tenant_of_twice_the_weight_gets_twice_the_runs(broker_url: str) -> None:
    lanes = Lanes(broker_url, weights={"b": 2.0}, credit_s=0.0)
    lanes.publish([routing(i, arrival_s=i, tenant="ab"[i % 2]) for i in range(60)])
    got = [number % 2 for number in claimed(lanes, 30) if number is not None]
    assert got.count(1) == 20 and got.count(0) == 10
    lanes.close()


def test_an_overdue_grant_takes_the_oldest_whoever_it_belongs_to(broker_url: str) -> None:
    lanes = Lanes(broker_url, credit_s=0.0)
    lanes.publish([routing(i, arrival_s=i, tenant="flood" if i < 5 else "quiet") for i in range(6)])
    taken = [id_of(lanes.claim("qwen", "normal", "overdue", f"c{i}", 100.0)) for i in range(5)]
    assert taken == [0, 1, 2, 3, 4]
    lanes.close()


def test_after_a_flush_all_start_alike(broker_url: str) -> None:
    lanes = Lanes(broker_url, credit_s=5.0)
    jobs = [routing(i, arrival_s=i, tenant="flood" if i < 8 else "quiet") for i in range(10)]
    lanes.publish(jobs)
    assert claimed(lanes, 3) == [0, 8, 1]
    lanes.redis.flushdb()
    assert lanes.claim("qwen", "normal", "oldest", "c") is None
    assert lanes.ack("c0") is None  # of a claim that the flush has taken
    lanes.publish(lanes.missing(jobs[2:8] + jobs[9:]))
    assert claimed(lanes, 2) == [2, 9]
    lanes.close()


def test_the_true_run_counts_in_the_end(broker_url: str) -> None:
    lanes = Lanes(broker_url, credit_s=5.0)
    lanes.publish([routing(i, arrival_s=i, tenant="ab"[i > 2]) for i in range(6)])
    assert claimed(lanes, 1, expected_s=1000.0) == [0]
    took = lanes.ack("c0")
    assert took is not None and took < 500
    # Charged a thousand seconds, it would have to let the other one by.
    assert claimed(lanes, 1) == [1]
    lanes.close()


def test_lanes_of_an_older_hotset_are_served_and_get_their_owners(lanes: Lanes) -> None:
    jobs = [routing(i, arrival_s=i, tenant="old") for i in range(3)]
    for i, job in enumerate(jobs):
        lanes.redis.sadd("hs:lanes:qwen", "normal")
        lanes.redis.hset("hs:message:qwen", str(job.id), encode(job))
        lanes.redis.zadd("hs:arrival:qwen:normal", {str(job.id): i})
        lanes.redis.zadd("hs:deadline:qwen:normal", {str(job.id): i})
    held = json.dumps(["qwen", "normal", str(UUID(int=7)), "7", "7", encode(routing(7, tenant="old"))])
    lanes.redis.hset("hs:unacked", mapping={"before": held, "done": held})
    assert id_of(lanes.claim("qwen", "normal", "oldest", "c")) == 0
    assert lanes.missing(jobs[1:]) == jobs[1:]
    lanes.publish(jobs[1:2])
    assert lanes.missing(jobs[1:]) == jobs[2:]
    assert lanes.ack("done") is None
    lanes.give_back("before")
    state = lanes.snapshot({"qwen": 60}).lanes
    assert [lane.waiting for lane in state] == [3]
    taken = [id_of(lanes.claim("qwen", "normal", "oldest", f"d{i}")) for i in range(4)]
    assert set(taken) == {1, 2, 7, None}


def test_a_job_waits_in_one_lane_and_an_old_claim_does_not_bring_it_back(lanes: Lanes) -> None:
    lanes.publish([routing(1)])
    lanes.claim("qwen", "normal", "oldest", "lost")
    lanes.publish([routing(1, suspect=True)])
    assert lanes.restore_abandoned(older_s=-1) == 0, "it waits already"
    assert [(lane.name, lane.waiting) for lane in lanes.snapshot({"qwen": 60}).lanes] == [("suspect", 1)]
    lanes.publish([routing(1, priority=Priority.HIGH)])
    assert [(lane.name, lane.waiting) for lane in lanes.snapshot({"qwen": 60}).lanes] == [("high", 1)]


def test_plain_messages_belong_to_the_default_tenant(broker_url: str) -> None:
    lanes = Lanes(broker_url, credit_s=5.0)
    for i in range(5):
        lanes.redis.lpush("qwen", json.dumps({**ENVELOPE, "headers": {"id": str(UUID(int=i)), "task": "hotset.run"}}))
    lanes.snapshot({"qwen": 60})
    lanes.publish([routing(9, arrival_s=10**8, tenant="other")])
    assert claimed(lanes, 3)[1] == 9
    assert set(lanes.redis.zrange("hs:served:tenants:qwen", 0, -1)) == {"default", "other"}
    lanes.close()


def test_accounts_of_tenants_that_are_gone_are_few(lanes: Lanes) -> None:
    lanes.redis.zadd("hs:served:tenants:qwen", {f"t{i}": 1000 + i for i in range(10_050)})
    for i in range(10):
        lanes.publish([routing(i, tenant=f"new{i}")])
    assert lanes.redis.zcard("hs:served:tenants:qwen") <= 10_000
    assert lanes.redis.zscore("hs:served:tenants:qwen", "new0") is not None, "it waits"


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
