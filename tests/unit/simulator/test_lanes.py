"""The reference lanes against lists that are sorted each time, and the shares that they give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotset.simulator.lanes import CROWD, Queue


def add(queue: Queue, job: str, arrival: float = 0.0, deadline: float = 1e9, *, who: str = "t/a") -> None:
    tenant, agent = who.split("/")
    queue.add("normal", job, arrival, deadline, tenant=tenant, agent=agent)


def owners(queue: Queue, count: int, seconds: float = 10.0) -> list[str]:
    """Whose jobs are taken, one by one; jobs are named after their owner, `owner:number`."""
    taken = [queue.take("normal", "savable", 0.0, seconds) for _ in range(count)]
    return [job.split(":")[0] for job in taken if job is not None]


def test_an_empty_queue_gives_nothing() -> None:
    queue = Queue()
    assert queue.pick("normal", "oldest", 0) is None
    add(queue, "a")
    assert queue.take("normal", "savable", 0, 1.0) == "a"
    assert queue.take("normal", "savable", 0, 1.0) is None
    assert queue.pick("urgent", "overdue", 0) is None
    jobs = queue.lanes()["normal"]
    assert jobs.oldest_arrival() is None
    assert jobs.savable(0) == (0, None)


def test_selectors() -> None:
    queue = Queue()
    add(queue, "old", 1.0, 100.0)
    add(queue, "soon", 2.0, 50.0)
    add(queue, "gone", 3.0, 10.0)
    assert queue.pick("normal", "overdue", 20.0) == queue.pick("normal", "oldest", 20.0) == "old"
    assert queue.pick("normal", "savable", 20.0) == "soon"
    assert queue.lanes()["normal"].savable(20.0) == (2, 50.0)
    assert queue.pick("normal", "savable", 50.0) == "soon", "a deadline that is now can still be met"
    assert queue.pick("normal", "savable", 50.1) == "old"
    assert queue.pick("normal", "savable", 100.1) == "old", "none left: the earliest arrival"


def test_ties_go_to_the_smaller_id() -> None:
    queue = Queue()
    for name in ("b", "a", "c"):
        add(queue, name, 1.0, 5.0)
    assert queue.pick("normal", "oldest", 0) == queue.pick("normal", "savable", 0) == "a"


def test_misuse() -> None:
    queue = Queue()
    add(queue, "a")
    with pytest.raises(ValueError, match="already"):
        add(queue, "a")
    with pytest.raises(KeyError):
        queue.remove("normal", "b", 0)


def test_a_job_that_comes_back_counts_once() -> None:
    queue = Queue()
    add(queue, "a", 1.0, 5.0)
    queue.remove("normal", "a", 0)
    add(queue, "a", 1.0, 5.0)
    assert queue.lanes()["normal"].savable(2.0) == (1, 5.0)
    assert queue.lanes()["normal"].savable(6.0) == (0, None)
    assert queue.take("normal", "savable", 6.0, 1.0) == "a"
    assert queue.lanes()["normal"].savable(6.0) == (0, None)


# ---- shares ------------------------------------------------------------------------------------------------------


def test_a_flood_of_one_agent_or_tenant_starves_nobody() -> None:
    for flood, other in (("t/flood", "t/other"), ("flood/a", "other/a")):
        queue = Queue(credit_s=50.0)
        for i in range(100):
            add(queue, f"{flood}:{i}", float(i), 100.0 + i, who=flood)
        for i in range(20):
            add(queue, f"{other}:{i}", 200.0, 1000.0, who=other)  # later in every order
        taken = owners(queue, 30)
        assert taken[:6] == [flood] * 6, "within the credit deadlines decide"
        assert 11 <= taken[6:].count(other) <= 13, "beyond it they take turns"


def test_weights_divide_what_a_tenant_is_charged() -> None:
    queue = Queue(weights={"large": 3.0}, credit_s=0.0)
    for i in range(100):
        add(queue, f"large/a:{i}", who="large/a")
        add(queue, f"small/a:{i}", who="small/a")
    assert owners(queue, 40).count("large/a") in range(28, 33)


def test_a_newcomer_starts_at_the_current_minimum_and_saves_nothing_up() -> None:
    queue = Queue(credit_s=0.0)
    for i in range(200):
        add(queue, f"t/a:{i}", who="t/a")
        add(queue, f"t/b:{i}", who="t/b")
    owners(queue, 100)
    for i in range(100):
        add(queue, f"t/new:{i}", who="t/new")
    assert owners(queue, 30).count("t/new") in range(9, 13)


def test_newcomers_do_not_go_before_who_waits_for_ever() -> None:
    """Each comes once, with a deadline that can be met; the one who waits has missed its own."""
    queue = Queue(credit_s=20.0)
    add(queue, "t/old:0", 0.0, 1.0, who="t/old")
    taken = []
    for i in range(20):
        add(queue, f"t/x{i}:0", 10.0, 1000.0, who=f"t/x{i}")
        taken.append(queue.take("normal", "savable", 5.0, 10.0))
    assert "t/old:0" in taken[:8]


def test_nobody_gets_a_second_answer_long_before_others_have_their_first() -> None:
    """All come at once and again with each answer: what is asked for later can be in time, what waits is late."""
    queue, agents = Queue(), [f"t/a{i:02d}" for i in range(30)]
    for name in agents:
        add(queue, f"{name}:0", 0.0, 0.0, who=name)
    answers = dict.fromkeys(agents, 0)
    now = 0.0
    while max(answers.values()) < 5:
        now += 10.0
        job = queue.take("normal", "savable", now, 10.0)
        assert job is not None
        name, number = job.split(":")
        answers[name] += 1
        add(queue, f"{name}:{int(number) + 1}", now, now + 60.0, who=name)
    assert min(answers.values()) >= 2


def answers_in_a_crowd(agents: int, picks: int, deadline: float) -> dict[str, int]:
    """How often each is served of so many, who come at once with that deadline, and again with each answer in time to
    be served. A pick takes 1 s, as expected."""
    queue, answers = Queue(), {f"t/a{i:03d}": 0 for i in range(agents)}
    for name in answers:
        add(queue, f"{name}:0", 0.0, deadline, who=name)
    for now in range(1, picks + 1):
        job = queue.take("normal", "savable", now, 1.0)
        assert job is not None
        name, number = job.split(":")
        answers[name] += 1
        add(queue, f"{name}:{int(number) + 1}", now, deadline + now + 1.5, who=name)
    return answers


def test_in_a_crowd_that_is_late_nobody_gets_a_second_answer_before_all_have_their_first() -> None:
    for agents in (3 * CROWD, 6 * CROWD):
        assert set(answers_in_a_crowd(agents, agents, 0.0).values()) == {1}
    assert 0 in answers_in_a_crowd(CROWD + 1, CROWD + 1, 0.0).values(), "the credit falls by and by"


def test_few_who_are_late_and_many_who_are_not_leave_their_credit_to_deadlines() -> None:
    assert 0 in answers_in_a_crowd(CROWD, CROWD, 0.0).values()
    queue = Queue()
    for i in range(2 * CROWD):
        add(queue, f"t/a{i:03d}:0", 0.0, 1000.0, who=f"t/a{i:03d}")
    for i in range(3):
        add(queue, f"t/urgent:{i}", 1.0, 10.0, who="t/urgent")
    assert owners(queue, 3) == ["t/urgent"] * 3


def test_in_a_crowd_the_oldest_jobs_of_one_are_no_more_than_a_few_credits_ahead() -> None:
    for flood, other in (("t/flood", "t/o{}"), ("flood/a", "o{}/a")):
        queue = Queue(credit_s=20.0)
        for i in range(100):
            add(queue, f"{flood}:{i}", float(i), -1.0, who=flood)
        for i in range(CROWD + 20):
            add(queue, f"{other.format(i)}:0", 500.0, -1.0, who=other.format(i))  # later in every order
        taken = owners(queue, CROWD)
        assert taken[:7] == [flood] * 7 and flood not in taken[7:], "three credits are six runs, and one more goes"


def test_a_crowd_with_one_who_is_in_time_serves_it_first_if_it_is_not_ahead() -> None:
    queue = Queue()
    for i in range(3 * CROWD):
        add(queue, f"t/a{i:03d}:0", 0.0, -1.0, who=f"t/a{i:03d}")
    add(queue, "t/new:0", 5.0, 100.0, who="t/new")
    add(queue, "t/new:1", 5.0, 100.0, who="t/new")
    assert owners(queue, 3) == ["t/new", "t/a000", "t/a001"]


def test_true_run_times_correct_the_charge() -> None:
    queue = Queue(credit_s=0.0)
    for i in range(100):
        add(queue, f"t/a:{i}", who="t/a")
        add(queue, f"t/b:{i}", who="t/b")
    taken = []
    for _ in range(40):
        (owner,) = owners(queue, 1)
        queue.correct("t", owner[-1], 20.0 if owner == "t/a" else 0.0)  # a's jobs run three times as long
        taken.append(owner)
    assert taken.count("t/b") in range(28, 32)


def test_an_overdue_job_goes_whatever_its_owner_has_had() -> None:
    queue = Queue(credit_s=0.0)
    add(queue, "t/a:0", 0.0, who="t/a")
    add(queue, "t/a:1", 1.0, who="t/a")
    add(queue, "t/b:0", 2.0, who="t/b")
    assert owners(queue, 1) == ["t/a"]
    assert queue.pick("normal", "oldest", 0) == "t/b:0"
    assert queue.pick("normal", "overdue", 0) == "t/a:1"


def test_a_tenants_account_holds_for_all_its_priorities() -> None:
    queue = Queue(credit_s=0.0)
    queue.add("high", "a0", 0, 9, tenant="a", agent="x")
    for i in (1, 2):
        queue.add("normal", f"a{i}", 0, i, tenant="a", agent="x")
        queue.add("normal", f"b{i}", 5, 5, tenant="b", agent="x")
    assert queue.take("high", "oldest", 0, 15.0) == "a0"
    assert [queue.take("normal", "oldest", 0, 10.0) for _ in range(4)] == ["b1", "b2", "a1", "a2"]


def test_a_job_that_comes_again_later_is_as_old_as_its_last_arrival() -> None:
    queue = Queue()
    add(queue, "a", 0.0, 9.0)
    add(queue, "b", 1.0, 1.0)
    assert queue.take("normal", "savable", 0, 1.0) == "b"
    add(queue, "c", 2.0, 9.0)
    add(queue, "b", 3.0, 9.0)
    assert [queue.take("normal", "overdue", 0, 1.0) for _ in range(3)] == ["a", "c", "b"]


_TIMES = st.integers(0, 6).map(float)


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), _TIMES, _TIMES), max_size=30),
    st.lists(st.tuples(st.sampled_from(["overdue", "oldest", "savable"]), _TIMES), max_size=30),
)
def test_any_order_of_adding_and_taking(adds: list[tuple[str, float, float]], takes: list[tuple[str, float]]) -> None:
    queue, plain = Queue(), {}
    half = len(adds) // 2
    takes = list(zip((s for s, _ in takes), sorted(t for _, t in takes), strict=True))  # the clock never goes back
    steps = [("add", a) for a in adds[:half]]
    for i, take in enumerate(takes):
        steps.append(("take", take))
        if half + i < len(adds):
            steps.append(("add", adds[half + i]))
    for kind, step in steps:
        if kind == "add":
            name, arrival, deadline = step  # type: ignore[misc]
            if name not in plain:
                add(queue, name, arrival, deadline)
                plain[name] = (arrival, deadline)
            continue
        selector, now = step  # type: ignore[misc]
        savable = sorted((d, n) for n, (_, d) in plain.items() if d >= now)
        oldest = sorted((a, n) for n, (a, _) in plain.items())
        expected = savable[0][1] if selector == "savable" and savable else oldest[0][1] if oldest else None
        assert queue.pick("normal", selector, now) == expected  # type: ignore[arg-type]
        if "normal" in queue.lanes():
            jobs = queue.lanes()["normal"]
            assert jobs.savable(now) == (len(savable), savable[0][0] if savable else None)
            assert jobs.oldest_arrival() == (oldest[0][0] if oldest else None)
        if expected is not None:
            assert queue.take("normal", selector, now, 1.0) == expected  # type: ignore[arg-type]
            del plain[expected]
        assert len(queue) == len(plain)
