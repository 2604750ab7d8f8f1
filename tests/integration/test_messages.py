"""Messages in a real Postgres, woken over a real cache: order, leases, dead letters, keys, topics, and what commits
together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import Engine

from hotset import Client, Message
from hotset.broker.replies import inbox_channel
from hotset.client import listener
from hotset.errors import IdempotencyConflict, InvalidMessage, LeaseLost, UnknownMessage
from hotset.jobs import Outcome, State
from hotset.messaging import erase_tenant, remove_batch
from hotset.store import JobStore, erasure
from stack import Stack, eventually

TO, FROM = "qa-team-lead", "system-architect"


@pytest.fixture
def client(stack: Stack) -> Client:
    stack.fleet()
    return stack.client()


@pytest.fixture
def other(stack: Stack, client: Client) -> Client:
    """Of the same database, another tenant's."""
    return stack.client(tenant="acme")


def bodies(client: Client, agent: str = TO, **how: float) -> list[object]:
    """All that the inbox gives now, acknowledged."""
    found = []
    for msg in client.inbox(agent, timeout=0, **how):  # type: ignore[arg-type]
        found.append(msg.body)
        msg.ack()
    return found


def take(client: Client, agent: str = TO, **how: float) -> list[Message]:
    return list(client.inbox(agent, timeout=0, **how))  # type: ignore[arg-type]


def actions(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        query = "SELECT action FROM audit WHERE detail ? 'message' ORDER BY at, id"
        return list(connection.exec_driver_sql(query).scalars())


# ---- sending and receiving -------------------------------------------------------------------------------------


def test_a_message_arrives_as_it_was_said(client: Client) -> None:
    body = {"b": [1, 2.5, None, True, {"é": "ü\n"}], "a": "x" * 1000}

    sent = client.send(TO, body, from_=FROM, topic="review", job="0198c0de-0000-7000-8000-000000000000")
    (msg,) = take(client)

    assert (msg.id, msg.body, msg.from_, msg.to, msg.topic, msg.attempts) == (sent, body, FROM, TO, "review", 1)
    assert list(msg.body) == ["b", "a"]
    assert msg.job == "0198c0de-0000-7000-8000-000000000000"
    assert msg.sent_at.tzinfo is not None
    msg.ack()
    msg.ack()  # as after an answer that was lost on its way
    assert take(client) == []
    assert client.message(sent).state == "handled"


def test_of_a_pair_one_message_at_a_time_in_its_order(client: Client) -> None:
    client.send_many({"to": TO, "body": i, "from_": FROM} for i in range(3))
    client.send(TO, "of another", from_="other")

    held = take(client, batch=10)
    assert [m.body for m in held] == ["of another", 0]
    assert take(client) == []
    held[1].ack()
    (second,) = take(client)
    assert second.body == 1
    second.nack(delay=0)
    assert bodies(client) == [1, 2]
    held[0].ack()
    assert client.messages(state="open") == []


def test_senders_take_turns(client: Client) -> None:
    client.send_many({"to": TO, "body": f"{who}{i}", "from_": who} for who in "abc" for i in range(3))

    assert bodies(client) == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


def test_of_one_message_many_consumers_get_one(client: Client) -> None:
    client.send_many({"to": TO, "body": i, "from_": f"agent {i}"} for i in range(100))
    found: list[object] = []

    threads = [threading.Thread(target=lambda: found.extend(bodies(client, batch=3))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # One that found all that was left in others' hands has ended early; nothing is left or given twice.
    found += bodies(client)
    assert sorted(found) == list(range(100))  # type: ignore[type-var]


def test_a_lease_that_ends_is_given_again_and_the_old_one_counts_no_more(client: Client) -> None:
    client.send(TO, "x")
    (late,) = take(client, lease_s=0.05)
    time.sleep(0.1)
    (again,) = take(client)

    assert again.attempts == 2
    with pytest.raises(LeaseLost):
        late.ack()
    with pytest.raises(LeaseLost):
        late.nack()
    with pytest.raises(LeaseLost):
        late.extend()
    with pytest.raises(LeaseLost), late.handling():
        pytest.fail("not with a lease that is lost")
    again.ack()


def test_extend_holds_a_message_for_longer(client: Client) -> None:
    client.send(TO, "x")
    (msg,) = take(client, lease_s=0.2)
    msg.extend(30)
    time.sleep(0.3)
    assert take(client) == []
    msg.ack()


def test_what_nobody_looked_at_goes_back_and_counts_as_no_delivery(client: Client) -> None:
    client.send_many({"to": TO, "body": i, "from_": str(i)} for i in range(3))

    with client.inbox(TO, batch=3) as inbox:
        assert next(inbox).body == 0

    assert [(m.body, m.attempts) for m in take(client, batch=3)] == [(1, 1), (2, 1)]


def test_a_batch_that_is_worked_through_slowly_keeps_its_leases(client: Client) -> None:
    client.send_many({"to": TO, "body": i, "from_": str(i)} for i in range(3))
    found = []
    for msg in client.inbox(TO, batch=3, lease_s=0.4, timeout=0):
        time.sleep(0.25)
        msg.ack()
        found.append((msg.body, msg.attempts))
    assert found == [(0, 1), (1, 1), (2, 1)]


# ---- refusals and dead letters ---------------------------------------------------------------------------------


def test_dead_letters_and_their_replay(client: Client, engine: Engine) -> None:
    first = client.send(TO, 1, from_=FROM, max_deliveries=2)
    client.send(TO, 2, from_=FROM)

    assert take(client)[0].nack("it smells", delay=0)
    assert not take(client)[0].nack("it smells")
    # Dead, it holds up nobody.
    assert bodies(client) == [2]
    (dead,) = client.messages(state="dead")
    assert (str(dead.id), dead.reason, dead.attempts, dead.sender) == (first, "it smells", 2, FROM)

    client.send(TO, 3, from_=FROM)
    assert client.replay_messages() == [first]
    assert bodies(client) == [3, 1]
    assert client.messages(state="dead") == []
    assert actions(engine) == ["dead-letter", "message-replayed"]


def test_a_message_that_kills_its_consumers_is_a_dead_letter_in_the_end(client: Client, engine: Engine) -> None:
    client.send(TO, "poison", from_=FROM, max_deliveries=2)
    client.send(TO, "next", from_=FROM)
    for _ in range(2):
        assert [m.body for m in take(client, lease_s=0.05)] == ["poison"]
        time.sleep(0.1)

    assert bodies(client) == ["next"]
    (dead,) = client.messages(state="dead")
    assert dead.reason == "it was not acknowledged within its lease"
    assert actions(engine) == ["dead-letter"]


def test_a_refused_message_comes_back_after_its_back_off(client: Client) -> None:
    client.send(TO, "x")
    take(client)[0].nack()
    assert take(client) == []
    began = time.monotonic()
    msg = next(client.inbox(TO, timeout=60))
    assert msg.attempts == 2
    assert time.monotonic() - began > 0.5
    msg.nack(delay=30)
    assert [v.state for v in client.messages(to=TO)] == ["delayed"]


def test_erased_is_gone_and_the_audit_says_so(client: Client, engine: Engine) -> None:
    sent = client.send(TO, "a secret")
    (msg,) = take(client)
    client.erase_message(sent)
    with pytest.raises(LeaseLost):
        msg.ack()
    for ask in (client.message, client.erase_message):
        with pytest.raises(UnknownMessage):
            ask(sent)
    assert actions(engine) == ["message-erased"]
    with engine.connect() as connection:
        query = "SELECT count(*) FROM audit WHERE detail::text LIKE '%%a secret%%'"
        assert connection.exec_driver_sql(query).scalar_one() == 0


# ---- once ------------------------------------------------------------------------------------------------------


def test_a_key_sends_once_per_sender(client: Client, other: Client) -> None:
    first = client.send(TO, 1, from_=FROM, key="k")
    assert client.send(TO, 1, from_=FROM, key="k") == first
    assert client.send_many([{"to": TO, "body": 1, "from_": FROM, "key": "k"}] * 2) == [first, first]
    for wrong in ({"to": TO, "body": 2}, {"to": "somebody-else", "body": 1}):
        with pytest.raises(IdempotencyConflict):
            client.send_many([{"to": TO, "body": "not sent"}, {**wrong, "from_": FROM, "key": "k"}])
    assert client.send(TO, 1, from_="another", key="k") != first
    assert other.send(TO, 1, from_=FROM, key="k") != first
    assert bodies(client, batch=5) == [1, 1]


@pytest.fixture
def effects(engine: Engine) -> Iterator[Engine]:
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE effects (what text)")
    yield engine


def done(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.exec_driver_sql("SELECT what FROM effects").scalars())


def test_a_handler_and_its_acknowledgement_commit_together(client: Client, effects: Engine) -> None:
    client.send(TO, "x", from_=FROM)

    (msg,) = take(client, lease_s=0.05)
    with msg.handling() as connection:
        connection.exec_driver_sql("INSERT INTO effects VALUES ('once')")
        client.send("next-agent", "went on", from_=TO, within=connection)
        time.sleep(0.1)
        # Its lease is over, and still nobody else is given what is being handled.
        assert take(client) == []

    assert done(effects) == ["once"]
    assert bodies(client, "next-agent") == ["went on"]
    with pytest.raises(LeaseLost), msg.handling():
        pytest.fail("not a second time")


def test_a_handler_that_fails_has_done_nothing(client: Client, effects: Engine) -> None:
    client.send(TO, "x", from_=FROM)

    with pytest.raises(ZeroDivisionError), take(client)[0].handling() as connection:
        connection.exec_driver_sql("INSERT INTO effects VALUES ('undone')")
        client.send("next-agent", "never sent", within=connection)
        _ = 1 / 0

    assert done(effects) == []
    assert take(client, "next-agent") == []
    (view,) = client.messages(to=TO)
    assert (view.state, view.reason) == ("delayed", "ZeroDivisionError")


# ---- topics, tenants, limits -----------------------------------------------------------------------------------


def test_a_topic_puts_one_message_into_each_subscribers_inbox(client: Client, other: Client) -> None:
    assert client.publish("releases", "nobody hears") == 0
    assert client.subscribe("a", "releases") and client.subscribe("b", "releases")
    assert not client.subscribe("a", "releases")
    other.subscribe("a", "releases")

    assert client.publish("releases", {"v": 2}, from_=FROM, key="v2") == 2
    assert client.publish("releases", {"v": 2}, from_=FROM, key="v2") == 0
    with pytest.raises(IdempotencyConflict):
        client.publish("releases", {"v": 3}, from_=FROM, key="v2")
    (msg,) = take(client, "a")
    assert (msg.body, msg.topic, msg.from_) == ({"v": 2}, "releases", FROM)
    assert client.unsubscribe("b", "releases") and not client.unsubscribe("b", "releases")
    client.publish("releases", {"v": 4})
    assert bodies(client, "b") == [{"v": 2}]
    assert client.topics() == {"releases": ["a"]} == client.topics("releases")
    assert take(other, "a") == []


def test_tenants_see_nothing_of_each_other(client: Client, other: Client) -> None:
    sent = client.send(TO, "ours", from_=FROM, max_deliveries=1)
    assert take(other) == []
    assert other.messages() == []
    for ask in (other.message, other.erase_message):
        with pytest.raises(UnknownMessage):
            ask(sent)
    take(client)[0].nack("no")
    assert other.replay_messages([sent]) == [] == other.replay_messages()
    assert client.messages(state="dead")


def test_what_cannot_be_sent_is_refused_with_the_reason(client: Client) -> None:
    deep: object = "x"
    for _ in range(33):
        deep = [deep]
    wrong: list[tuple[object, object, str]] = [
        (TO, {1: "x"}, "no text"),
        (TO, {"x": object()}, "not JSON"),
        (TO, float("nan"), "not JSON"),
        (TO, "a\x00b", "NUL"),
        (TO, {"a": ["\ud800"]}, "Unicode"),
        (TO, deep, "deeper than 32"),
        (TO, "x" * 70_000, "over the limit of 65,536"),
        ("", "x", "to="),
        ("x" * 201, "x", "to="),
    ]
    for to, body, why in wrong:
        with pytest.raises(InvalidMessage, match=why):
            client.send(to, body)  # type: ignore[arg-type]
    for bad in ({"to": TO}, {"to": TO, "body": 1, "form_": "x"}, {"to": TO, "body": 1, "max_deliveries": 0}):
        with pytest.raises(InvalidMessage):
            client.send_many([{"to": TO, "body": "not sent"}, bad])
    for how in ({"lease_s": 0}, {"batch": 0}):
        with pytest.raises(InvalidMessage):
            client.inbox(TO, **how)
    with pytest.raises(InvalidMessage, match="no state"):
        client.messages(state="lost")
    assert client.messages() == []


def test_lists_filter_and_page(client: Client) -> None:
    client.send_many({"to": f"a{i % 2}", "body": "x" * i, "from_": str(i), "topic": "t"} for i in range(6))
    take(client, "a0")

    newest = client.messages(to="a0", limit=2)
    assert [v.sender for v in newest] == ["4", "2"]
    (last,) = client.messages(to="a0", after=newest[-1].id)
    assert (last.sender, last.body, last.bytes) == ("0", None, 2)
    assert len(client.messages(state="leased")) == 3 == len(client.messages(state="waiting"))
    assert len(client.messages(from_="3", topic="t")) == 1
    assert client.message(newest[0].id).body == "xxxx"


def test_only_what_has_ended_long_ago_is_deleted(client: Client, engine: Engine) -> None:
    for body in ("handled", "dead", "open"):
        client.send(body, body, key=body, max_deliveries=1)
    bodies(client, "handled")
    take(client, "dead")[0].nack("no")
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "UPDATE messages SET sent_at = sent_at - interval '8 days', ended_at = ended_at - interval '8 days'"
        )
        connection.exec_driver_sql("UPDATE message_keys SET sent_at = now() - interval '8 days' WHERE key <> 'open'")

    assert remove_batch(engine, actor="t", keep_days=0) == 0
    assert remove_batch(engine, actor="t", keep_days=7) == 4
    assert remove_batch(engine, actor="t", keep_days=7) == 0
    assert bodies(client, "open") == ["open"]


# ---- jobs ------------------------------------------------------------------------------------------------------


def test_a_job_sends_its_answer_in_the_commit_that_ends_it(client: Client, engine: Engine) -> None:
    store = JobStore(engine)
    quiet = client.submit("log-aggregator-loki", "nobody is told")
    told = client.submit("log-aggregator-loki", "x", send_to=TO)
    for job in (quiet, told):
        attempt = store.claim(job._id, worker="w", lease_s=30)
        assert attempt is not None
        stale = Outcome(State.SUCCEEDED, text="of a lost lease", model="m")
        assert store.finish(job._id, attempt.number - 1, stale, worker="w") is None
        assert take(client) == []
        outcome = Outcome(State.SUCCEEDED, text="the answer\n", model="m")
        finished = store.finish(job._id, attempt.number, outcome, worker="w")
        assert finished is not None and finished.send_to == (TO if job is told else None)

    (msg,) = take(client)
    assert (msg.id, msg.job, msg.from_) == (told.id, told.id, "log-aggregator-loki")
    assert msg.body == {
        "job": told.id,
        "agent": "log-aggregator-loki",
        "state": "succeeded",
        "text": "the answer\n",
    }
    msg.ack()


def test_a_job_that_ends_otherwise_tells_that_too_and_so_does_its_replay(client: Client, engine: Engine) -> None:
    job = client.submit("log-aggregator-loki", "x", send_to=TO)
    job.cancel()
    again = job.retry()
    attempt = JobStore(engine).claim(again._id, worker="w", lease_s=30)
    assert attempt is not None
    retry = Outcome(State.SCHEDULED, error_kind="Stalled", error="try again", retry_in_s=0)
    assert JobStore(engine).finish(again._id, attempt.number, retry, worker="w")
    (msg,) = take(client)
    assert (msg.body["state"], msg.job) == ("cancelled", job.id)
    msg.ack()
    again.cancel()
    assert [m.job for m in take(client)] == [again.id]


def test_an_answer_is_erased_with_its_job_and_a_tenants_messages_with_the_tenant(
    client: Client, other: Client, engine: Engine
) -> None:
    told = client.submit("log-aggregator-loki", "x", send_to=TO)
    attempt = JobStore(engine).claim(told._id, worker="w", lease_s=30)
    assert attempt is not None
    JobStore(engine).finish(told._id, attempt.number, Outcome(State.SUCCEEDED, text="secret", model="m"), worker="w")
    client.send(TO, "mine", from_=FROM)
    other.send(TO, "theirs", from_=FROM)
    assert erasure.erase(engine, tenant="default", actor="test", ids=[told._id]) == 1
    assert bodies(client) == ["mine"], "its answer lay in an inbox"
    assert erase_tenant(engine, tenant="default", actor="test") == 1, "handled ones, too"
    assert erase_tenant(engine, tenant="default", actor="test") == 0
    assert bodies(other) == ["theirs"]


def test_a_very_long_answer_is_cut_and_says_so(client: Client, engine: Engine) -> None:
    job = client.submit("log-aggregator-loki", "x", send_to=TO)
    attempt = JobStore(engine).claim(job._id, worker="w", lease_s=30)
    assert attempt is not None
    outcome = Outcome(State.SUCCEEDED, text="\x01" * 300_000, model="m")
    assert JobStore(engine).finish(job._id, attempt.number, outcome, worker="w")
    (msg,) = take(client)
    assert msg.body["cut"] is True and len(msg.body["text"]) == 100_000


def test_an_answer_of_a_worker_wakes_the_inbox(stack: Stack) -> None:
    stack.fleet()
    stack.worker()
    client = stack.client()
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.append(next(client.inbox(TO, timeout=120)).body["state"]))
    reader.start()
    client.submit("log-aggregator-loki", "x", options={"hotset_run_s": 0.5}, send_to=TO).result(timeout=120)
    reader.join(timeout=120)
    assert got == ["succeeded"], stack.log()


# ---- waking ----------------------------------------------------------------------------------------------------


def test_waiting_inboxes_are_woken_and_ask_nothing_meanwhile(
    stack: Stack, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumers = 20
    got: list[tuple[str, object]] = []

    def consume(agent: str) -> None:
        with client.inbox(agent, timeout=60) as inbox:
            msg = next(inbox)
            msg.ack()
            got.append((agent, msg.body))

    names = [f"agent-{i}" for i in range(consumers)]
    threads = [threading.Thread(target=consume, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    with redis.Redis.from_url(stack.env["HOTSET_CACHE_URL"]) as cache:
        channels = [inbox_channel("default", name) for name in names]
        eventually(lambda: all(n == 1 for _, n in cache.pubsub_numsub(*channels)), within_s=10)
        time.sleep(0.5)
        asked: list[object] = []

        execute = psycopg.Cursor.execute

        def note(*what: Any, **how: Any) -> Any:
            asked.append(what)
            return execute(*what, **how)

        monkeypatch.setattr(psycopg.Cursor, "execute", note)
        time.sleep(1.0)
        assert len(asked) <= 1  # the look that serves all inboxes
        sender = stack.client()
        sender.send_many({"to": name, "body": i} for i, name in enumerate(names))
        for thread in threads:
            thread.join(timeout=60)
        assert sorted(got) == sorted((name, i) for i, name in enumerate(names))
        assert len(asked) > 2, "what is counted here"
        eventually(lambda: all(n == 0 for _, n in cache.pubsub_numsub(*channels)), within_s=10)


def test_without_a_cache_messages_come_by_the_slow_look(stack: Stack) -> None:
    stack.env["HOTSET_CACHE_URL"] = "redis://127.0.0.1:1/0"
    stack.fleet()
    client, sender = stack.client(), stack.client()
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.append(next(client.inbox(TO, timeout=60)).body))
    reader.start()
    time.sleep(0.5)
    sender.send(TO, "x")
    reader.join(timeout=60)
    assert got == ["x"]


def test_a_wake_up_that_was_lost_is_made_good_by_the_next_look(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "MAIL_S", 0.5)
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.append(next(client.inbox(TO, timeout=60)).body))
    reader.start()
    time.sleep(0.3)
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "INSERT INTO messages (id, tenant, recipient, body) VALUES (gen_random_uuid(), 'default', %s, '7')", (TO,)
        )
    reader.join(timeout=60)
    assert got == [7]
