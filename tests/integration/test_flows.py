"""Flows in a real Postgres and on real workers: what is released, what fails with what, and when, whatever happens."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from uuid_utils.compat import uuid7

import hotset
from hotset.errors import IdempotencyConflict, IllegalTransition, InvalidJob, UnknownAgent, UnknownJob
from hotset.jobs import TERMINAL, NewJob, Outcome, State
from hotset.jobs.filters import JobFilter
from hotset.jobs.flows import Flow, expand
from hotset.store import JobStore, downgrade, flows, upkeep
from hotset.store.flows import NewFlow
from stack import Stack, eventually

LIGHT, BALANCED, COMPLEX = "log-aggregator-loki", "senior-backend-developer", "system-architect"
step = hotset.step


def accept(store: JobStore, flow: Flow, **changes: Any) -> list[UUID]:
    """The flow's jobs in the order of its steps; `changes` hold for each."""
    plan = expand(flow)
    flow_id, ids = uuid7(), [uuid7() for _ in plan.steps]
    awaited = {n for p in plan.steps for n in p.after}
    jobs = tuple(
        NewJob(
            id=ids[p.number],
            agent=p.step.agent,
            queue="qwen",
            prompt=p.step.prompt,
            flow=flow_id,
            step=p.number,
            depends_on=tuple(ids[n] for n in p.after),
            has_dependents=p.number in awaited,
            **changes,
        )
        for p in plan.steps
    )
    flows.accept(store, NewFlow(flow_id, "default", plan.shape, None, jobs), actor="t")
    return ids


def states(store: JobStore, ids: list[UUID]) -> list[State]:
    found = store.get(ids)
    return [found[i].state for i in ids]


def end(store: JobStore, job: UUID, state: State = State.SUCCEEDED, text: str = "an answer") -> None:
    assert store.claim(job, worker="w", lease_s=30) is not None
    kind = None if state is State.SUCCEEDED else "GenerationFailed"
    assert store.finish(job, 1, Outcome(state, text=text, model="m", error_kind=kind), worker="w")


def diamond() -> Flow:
    return hotset.chain(step("a", "p"), hotset.group(step("b", "p"), step("c", "p")), step("d", "p"))


S, B, Q = State.SUCCEEDED, State.BLOCKED, State.QUEUED


def test_steps_are_released_one_after_the_other(store: JobStore) -> None:
    ids = accept(store, diamond())
    assert states(store, ids) == [Q, B, B, B]
    end(store, ids[0])
    assert states(store, ids) == [S, Q, Q, B]
    assert [r.id for r in flows.released(store, ids[0])] == ids[1:3]
    end(store, ids[1])
    assert states(store, ids) == [S, S, Q, B]
    assert flows.released(store, ids[1]) == []
    end(store, ids[2])
    assert states(store, ids) == [S, S, S, Q]
    assert [row["action"] for row in store.audit(ids[3])] == ["accept", "unblocked"]
    assert store.audit(ids[3])[1]["detail"] == {"by": str(ids[2])}


def test_deadline_wait_and_place_in_the_lanes_count_from_the_release(engine: Engine, store: JobStore) -> None:
    ids = accept(store, hotset.chain(step("a", "p"), step("b", "p")), deadline_s=100.0, queue_timeout_s=1000.0)
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "UPDATE jobs SET arrived_at = arrived_at - interval '1 h', deadline_at = deadline_at - interval '1 h',"
            " queue_timeout_at = queue_timeout_at - interval '1 h' WHERE id = %s",
            (ids[1],),
        )
    # Its queue timeout has not begun, however long ago it came.
    assert upkeep.expire(engine, actor="u") == []
    end(store, ids[0])
    view = store.get(ids[1:])[ids[1]]
    assert view.released_at is not None
    assert (view.deadline_at - view.released_at).total_seconds() == pytest.approx(100)
    routing = flows.released(store, ids[0])[0]
    assert routing.arrived_at == view.released_at and routing.deadline_at == view.deadline_at
    with engine.connect() as connection:
        query = "SELECT extract(epoch FROM queue_timeout_at - released_at) FROM jobs WHERE id = %s"
        assert float(connection.exec_driver_sql(query, (ids[1],)).scalar_one()) == pytest.approx(1000)
    end(store, ids[1])
    wait_s = store.get(ids[1:])[ids[1]].wait_s
    assert wait_s is not None and 0 <= wait_s < 60


def test_not_before_holds_a_released_step_back(store: JobStore) -> None:
    ids = accept(store, hotset.chain(step("a", "p"), step("b", "p")), not_before_s=0.2)
    assert states(store, ids) == [State.SCHEDULED, B]
    time.sleep(0.25)
    upkeep.queue_due(store.engine)
    end(store, ids[0])
    assert states(store, ids) == [S, Q]
    later = accept(store, hotset.chain(step("a", "p"), step("b", "p")), not_before_s=100.0)
    with store.engine.connect() as connection:
        connection.exec_driver_sql("UPDATE jobs SET not_before = now() WHERE id = %s", (later[0],))
    upkeep.queue_due(store.engine)
    end(store, later[0])
    assert states(store, later) == [S, State.SCHEDULED]


def lose(store: JobStore, job: UUID, how: str) -> None:
    engine = store.engine
    if how == "failed":
        end(store, job, State.FAILED)
    elif how == "cancelled":
        store.cancel(job, actor="t", reason="r")
    elif how == "refused":
        store.refuse(job, worker="w", error_kind="UnknownAgent", error="e")
    elif how == "quarantined":
        assert store.claim(job, worker="w", lease_s=-1)
        upkeep.reap(engine, actor="u", max_crashes=1)
    else:
        with engine.connect() as connection:
            connection.exec_driver_sql(
                "UPDATE jobs SET queue_timeout_at = now() - interval '1 s' WHERE id = %s", (job,)
            )
        upkeep.expire(engine, actor="u")


@pytest.mark.parametrize("how", ["failed", "cancelled", "refused", "quarantined", "expired"])
def test_whatever_ends_a_job_in_vain_ends_what_depends_on_it(store: JobStore, how: str) -> None:
    ids = accept(store, hotset.chain(diamond(), step("e", "p")), reply_to="me")
    end(store, ids[0])
    lose(store, ids[1], how)
    found = store.get(ids)
    assert found[ids[1]].state == ("failed" if how == "refused" else how)
    # The other branch is no dependent of it, and goes on.
    assert found[ids[2]].state is Q
    for below in ids[3:]:
        view = found[below]
        assert (view.state, view.error_kind, view.attempt) == (State.FAILED, "DependencyFailed", 0)
        assert view.error == f"job {ids[1]} (b), on which it depends, ended as {found[ids[1]].state}"
        rows = store.audit(below)
        assert [r["action"] for r in rows] == ["accept", "failed"]
        assert rows[1]["detail"] == {"error_kind": "DependencyFailed", "because": str(ids[1])}
    end(store, ids[2])
    assert states(store, ids[3:]) == [State.FAILED] * 2
    told = upkeep.take_untold(store.engine)
    assert {job.id for job in told} == set(ids[3:]) | ({ids[1]} if how == "cancelled" else set())
    assert all(job.reply_to == "me" for job in told)
    assert upkeep.take_untold(store.engine) == []


def test_dependencies_that_end_at_the_same_moment_release_once(store: JobStore) -> None:
    """Twelve jobs end at once, over and over: what waits for all of them starts exactly once, and only after all."""
    for _ in range(6):
        group = hotset.group(*(step("a", "p") for _ in range(12)))
        ids = accept(store, hotset.chain(group, hotset.group(*(step("b", "p") for _ in range(3))), step("c", "p")))
        barrier = threading.Barrier(12)

        def finish(job: UUID, barrier: threading.Barrier = barrier) -> None:
            assert store.claim(job, worker="w", lease_s=30)
            barrier.wait(10)
            assert store.finish(job, 1, Outcome(S, text="x", model="m"), worker="w")

        threads = [threading.Thread(target=finish, args=(job,)) for job in ids[:12]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert states(store, ids) == [S] * 12 + [Q] * 3 + [B]
        for job in ids[12:15]:
            assert Counter(r["action"] for r in store.audit(job)) == {"accept": 1, "unblocked": 1}


def test_ends_and_cancels_that_cross_leave_no_job_waiting_for_nothing(store: JobStore) -> None:
    """Every order of locks that a flow allows, at once: it ends, and every job with it."""

    def work(ids: list[UUID], stop: threading.Event, errors: list[BaseException], turn: int) -> None:
        try:
            while not stop.is_set():
                for i, job in enumerate(ids):
                    if attempt := store.claim(job, worker="w", lease_s=30):
                        state = State.FAILED if (i + turn) % 7 == 3 else S
                        kind = "GenerationFailed" if state is State.FAILED else None
                        outcome = Outcome(state, text="x", model="m", error_kind=kind)
                        store.finish(job, attempt.number, outcome, worker="w")
        except BaseException as e:
            errors.append(e)

    plan = hotset.chain(
        hotset.group(*(hotset.chain(step("a", "p"), step("b", "p")) for _ in range(5))),
        step("c", "p"),
        hotset.group(*(step("d", "p") for _ in range(3))),
        step("e", "p"),
    )
    for turn in range(6):
        ids = accept(store, plan)
        flow = store.get(ids[:1])[ids[0]].flow
        assert flow is not None
        stop = threading.Event()
        errors: list[BaseException] = []

        threads = [threading.Thread(target=work, args=(ids, stop, errors, turn)) for _ in range(4)]
        threads += [threading.Thread(target=store.cancel, args=(ids[10],), kwargs={"actor": "t", "reason": "r"})]
        threads += [threading.Thread(target=flows.cancel, args=(store, flow), kwargs={"actor": "t", "reason": "r"})]
        for thread in threads if turn % 2 else threads[:5]:
            thread.start()
        eventually(lambda ids=ids: all(s in TERMINAL for s in states(store, ids)), within_s=20)  # type: ignore[misc]
        stop.set()
        for thread in threads if turn % 2 else threads[:5]:
            thread.join()
        assert errors == []


def test_the_relay_publishes_what_was_released_at_once(engine: Engine, store: JobStore) -> None:
    ids = accept(store, hotset.chain(step("a", "p"), step("b", "p")))
    store.mark_published(ids[:1])
    published: list[Any] = []
    assert upkeep.relay(engine, published.extend, after_s=1000) == 0
    end(store, ids[0])
    assert upkeep.relay(engine, published.extend, after_s=1000) == 1
    assert [r.id for r in published] == ids[1:]


def test_a_flow_is_accepted_whole_or_not_at_all(store: JobStore) -> None:
    ids = accept(store, diamond())
    before = flows.read(store, store.get(ids[:1])[ids[0]].flow or UUID(int=0))
    job = NewJob(id=ids[0], agent="a", queue="qwen", prompt="p", flow=uuid7(), step=0)
    with pytest.raises(KeyError):
        flows.accept(store, NewFlow(job.flow or uuid7(), "default", 0, None, (job,)), actor="t")
    with pytest.raises(UnknownJob):
        flows.read(store, job.flow or uuid7())
    assert flows.read(store, before.id) == before


def test_a_long_chain_fails_as_a_whole(store: JobStore) -> None:
    ids = accept(store, hotset.chain(*(step("a", "p") for _ in range(1000))))
    lose(store, ids[0], "cancelled")
    assert Counter(states(store, ids)) == {State.CANCELLED: 1, State.FAILED: 999}


# ---- as a client sees them -------------------------------------------------------------------------------------------


@pytest.fixture
def client(stack: Stack) -> hotset.Client:
    stack.fleet()
    return stack.client()


def finish(client: hotset.Client, run: hotset.FlowRun, path: str, state: State = S, text: str = "") -> None:
    job = client.id_of(run.job(path).id)
    end(client._store, job, state, text or f"answer {path}")


def test_the_worker_puts_the_answers_into_the_prompt(stack: Stack) -> None:
    """What the model server was asked is what the answers before it said, braces and all."""
    from hotset_worker.run_job.prepare import _with_answers

    client = stack.fleet().client()
    flow = hotset.chain(
        hotset.group((LIGHT, "a {prev}"), (LIGHT, "b")), step(LIGHT, "x {prev[1]} y {prev}"), (LIGHT, "long {prev}")
    )
    run = client.submit(flow)
    store = client._store

    def asked(path: str) -> str:
        attempt = store.claim(client.id_of(run.job(path).id), worker="w", lease_s=30)
        assert attempt is not None
        tools: Any = type("Tools", (), {"store": store, "intake": client._intake})()
        try:
            return _with_answers(tools, attempt)
        finally:
            outcome = Outcome(S, text=f"<{path} {{prev}} {{prev[0]}}>" * (1 if path < "2" else 20_000), model="m")
            assert store.finish(attempt.id, attempt.number, outcome, worker="w")

    assert asked("1.1") == "a {prev}"  # it follows nothing
    assert asked("1.2") == "b"
    one, two = "<1.1 {prev} {prev[0]}>", "<1.2 {prev} {prev[0]}>"
    assert asked("2") == f"x {two} y ### 1 of 2: {LIGHT}\n{one}\n\n### 2 of 2: {LIGHT}\n{two}"
    with pytest.raises(InvalidJob, match=r"answers before it.*characters, over the limit"):
        asked("3")


def test_a_flow_that_ends_with_a_group_gives_a_list(client: hotset.Client) -> None:
    run = client.submit(
        hotset.group((LIGHT, "a"), hotset.chain((LIGHT, "b"), hotset.group((LIGHT, "c"), (LIGHT, "d"))))
    )
    for path in ("1", "2.1", "2.2.1", "2.2.2"):
        finish(client, run, path)
    first, (second, third) = run.result(timeout=120)  # type: ignore[misc]
    assert (first.text, second.text, third.text) == ("answer 1", "answer 2.2.1", "answer 2.2.2")


def test_a_flow_has_an_idempotency_key_of_its_own(client: hotset.Client) -> None:
    def flow(prompt: str = "b") -> hotset.Flow:
        return hotset.chain((LIGHT, "a"), step(LIGHT, lambda prev: f"{prompt} {prev}"))

    run = client.submit(flow(), idempotency_key="k")
    assert client.submit(flow(), idempotency_key="k") == run
    assert client.count(JobFilter()) == 2
    for other in (flow("c"), hotset.group((LIGHT, "a"), (LIGHT, "b {{prev}}"))):
        with pytest.raises(IdempotencyConflict, match="'k'"):
            client.submit(other, idempotency_key="k")
    assert client.submit(flow(), idempotency_key="k2") != run


def test_a_key_raced_for_gives_one_flow(client: hotset.Client) -> None:
    found: list[str] = []
    flow = hotset.chain((LIGHT, "a"), (LIGHT, "b"))
    threads = [
        threading.Thread(target=lambda: found.append(client.submit(flow, idempotency_key="k").id)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and len(set(found)) == 1
    assert len(client.flow(found[0]).jobs) == 2


def test_a_flow_with_a_bad_step_is_refused_and_names_it(client: hotset.Client) -> None:
    with pytest.raises(UnknownAgent, match=r"Step 2\.1: There is no agent 'nobody'"):
        client.submit(hotset.chain((LIGHT, "a"), hotset.group(("nobody", "b"), (LIGHT, "c"))))
    with pytest.raises(InvalidJob, match=r"Step 2: The prompt asks for \{prev\[1\]\}, and there are 1"):
        client.submit(hotset.chain((LIGHT, "a"), (LIGHT, "{prev[1]}")))
    with pytest.raises(InvalidJob, match="Step 1: The prompt is a function"):
        client.submit(hotset.chain(step(LIGHT, lambda prev: "x"), (LIGHT, "b")))
    with pytest.raises(InvalidJob, match="A flow takes no prompt"):
        client.submit(hotset.chain((LIGHT, "a")), "prompt")  # type: ignore[call-overload]
    assert client.jobs() == []
    with pytest.raises(UnknownJob):
        client.flow(str(uuid7()))


def test_another_tenant_sees_no_flow(stack: Stack, client: hotset.Client) -> None:
    run = client.submit(hotset.chain((LIGHT, "a"), (LIGHT, "b")))
    other = stack.client(tenant="acme")
    theirs = hotset.FlowRun(other, client.id_of(run.id))
    for ask in (theirs.tree, theirs.cancel, theirs.retry, lambda: other.flow(run.id)):
        with pytest.raises(UnknownJob):
            ask()
    assert run.status is State.QUEUED


# ---- retries ---------------------------------------------------------------------------------------------------------


def test_a_job_that_has_ended_is_retried_as_a_new_one(client: hotset.Client) -> None:
    job = client.submit(LIGHT, "x", deadline="15m", idempotency_key="k", metadata={"a": "b"}, priority="high")
    with pytest.raises(IllegalTransition, match="is queued"):
        job.retry()
    job.cancel()
    again = client.retry(job.id, reason="once more")
    view = again.view
    assert (view.state, view.replay_of, view.metadata, view.priority) == (Q, client.id_of(job.id), {"a": "b"}, 2)
    assert (view.deadline_at - view.arrived_at).total_seconds() == pytest.approx(9.0)  # 15 min at scale 0.01
    assert [r["action"] for r in client.audit(job.id)][-1] == "replay"
    assert client.audit(job.id)[-1]["detail"] == {"as": again.id, "reason": "once more"}
    assert client.audit(again.id)[0]["detail"]["replay_of"] == job.id
    assert client.position(client.id_of(again.id)) == 0
    # The key stays the first one's.
    assert client.submit(LIGHT, "x", deadline="15m", idempotency_key="k", metadata={"a": "b"}, priority="high") == job
    with pytest.raises(UnknownJob):
        client.retry(str(uuid7()))


def test_a_flow_is_retried_from_where_it_failed(client: hotset.Client) -> None:
    run = client.submit(
        hotset.chain((LIGHT, "a"), hotset.group((LIGHT, "b {prev}"), (LIGHT, "c")), (LIGHT, "d {prev}"))
    )
    with pytest.raises(IllegalTransition, match="Nothing of flow"):
        run.retry()
    finish(client, run, "1")
    finish(client, run, "2.1", State.FAILED)
    old = [job.id for job in run.jobs]
    new = run.retry()
    assert [client.get(client.id_of(j.id)).replay_of for j in new] == [client.id_of(old[1]), client.id_of(old[3])]
    assert [job.id for job in run.jobs] == [old[0], new[0].id, old[2], new[1].id]
    assert [job.status for job in run.jobs] == [S, Q, Q, B]
    assert run.status is State.RUNNING
    with pytest.raises(IllegalTransition):
        run.retry()
    # The kept branch ends after the retry was made: it counts for the new job.
    finish(client, run, "2.2")
    assert run.job("3").status is B
    finish(client, run, "2.1", text="second try")
    assert run.job("3").status is Q
    texts = [text for _, _, text in flows.answers(client._store, client.id_of(run.job("3").id))]
    assert texts == ["second try", "answer 2.2"]
    tree = run.tree()
    assert all(j in tree for j in old) and tree.count("before: failed") == 2
    assert run.as_dict()["steps"][1]["earlier"] == [{"job": old[1], "state": "failed"}]
    finish(client, run, "3")
    assert run.result(timeout=120).text == "answer 3"  # type: ignore[union-attr]


def test_one_job_of_a_flow_is_retried_within_it(client: hotset.Client) -> None:
    run = client.submit(hotset.chain((LIGHT, "a"), (LIGHT, "b {prev}"), (LIGHT, "c {prev}")))
    finish(client, run, "1")
    finish(client, run, "2", State.FAILED)
    first, second, third = run.jobs
    with pytest.raises(IllegalTransition, match="has not succeeded"):
        third.retry()
    again = second.retry()
    assert run.jobs == [first, again, run.jobs[2]] and run.jobs[2] != third
    with pytest.raises(IllegalTransition, match=f"has been retried as {again.id}"):
        second.retry()
    # What succeeded may be run again, too; what follows it goes on with the first answer.
    redone = first.retry()
    assert run.jobs == [redone, again, run.jobs[2]] and again.status is Q


def test_naming_steps_that_one_retry_covers_runs_each_once(client: hotset.Client) -> None:
    run = client.submit(hotset.chain((LIGHT, "a"), (LIGHT, "b {prev}")))
    finish(client, run, "1", State.FAILED)
    named = [client.id_of(job.id) for job in run.jobs]
    new = client.retry_named(named)
    assert [client.get(client.id_of(job.id)).replay_of for job in new] == named[:1]
    assert len(run.view.jobs) == 4


def test_retries_that_race_make_one_new_job_a_step(client: hotset.Client) -> None:
    run = client.submit(hotset.chain((LIGHT, "a"), (LIGHT, "b"), (LIGHT, "c")))
    finish(client, run, "1", State.FAILED)
    done: list[int] = []

    def retry() -> None:
        try:
            done.append(len(run.retry()))
        except IllegalTransition:
            done.append(0)

    threads = [threading.Thread(target=retry) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 0, 0, 0, 3]
    assert len(run.view.jobs) == 6


def test_going_back_to_a_schema_without_flows_ends_what_waits_for_others(engine: Engine, store: JobStore) -> None:
    ids = accept(store, diamond())
    end(store, ids[0])
    downgrade(engine.url.render_as_string(hide_password=False), "0001")
    with engine.connect() as connection:
        query = "SELECT state FROM jobs ORDER BY id"
        found = connection.exec_driver_sql(query).scalars().all()
    assert found == ["succeeded", "queued", "queued", "cancelled"]
