"""What several callers want of their messages at once is one statement and one commit; each is told what is true of its
own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from hotset import Client, Message
from hotset.errors import LeaseLost, StoreUnavailable
from hotset.messaging import Claimed, Wanted
from hotset.together import Together
from stack import Stack, eventually

TO, FROM = "qa-team-lead", "system-architect"


@pytest.fixture
def client(stack: Stack) -> Client:
    stack.fleet()
    return stack.client()


def bodies(client: Client, agent: str = TO, *, batch: int = 1) -> list[object]:
    """All that the inbox gives now, acknowledged."""
    found = []
    for msg in client.inbox(agent, timeout=0, batch=batch):
        found.append(msg.body)
        msg.ack()
    return found


def take(client: Client, *, batch: int = 1, lease_s: float = 30) -> list[Message]:
    return list(client.inbox(TO, timeout=0, batch=batch, lease_s=lease_s))


def together(calls: list[Callable[[], object]], held: Together[Any, Any]) -> list[Future[Any]]:
    """Carry the calls out as one group: all of them wait while another one is under way."""
    begun, go = threading.Event(), threading.Event()
    carry_out = held._carry_out

    def hold(items: list[Any]) -> Any:
        begun.set()
        assert go.wait(60)
        return carry_out(items)

    with ThreadPoolExecutor(len(calls)) as pool:
        held._carry_out = hold
        done = [pool.submit(calls[0])]
        assert begun.wait(60)
        for n, call in enumerate(calls[1:], 1):
            done.append(pool.submit(call))
            eventually(lambda n=n: len(held._turns) == n, within_s=60)  # type: ignore[misc]
        held._carry_out = carry_out
        go.set()
    return done


def test_acknowledgements_share_a_commit_and_only_a_lost_lease_is_told_so(client: Client, engine: Engine) -> None:
    client.send_many({"to": TO, "body": i, "from_": str(i)} for i in range(5))
    late, *_ = take(client, lease_s=0.05)
    time.sleep(0.1)
    first, *rest = take(client, batch=5)
    assert late.id == first.id
    first.ack()

    results = together([m.ack for m in [rest[0], late, first, *rest[1:]]], client._acks)

    (wrong,) = [r for r in results if r.exception()]
    assert wrong is results[1] and isinstance(wrong.exception(), LeaseLost)
    assert client.messages(state="open") == []
    with engine.connect() as connection:
        query = "SELECT max(n) FROM (SELECT count(*) AS n FROM messages GROUP BY xmin) AS commits"
        assert connection.exec_driver_sql(query).scalar_one() == 3


def test_nobody_waits_for_a_message_that_another_transaction_holds(client: Client, engine: Engine) -> None:
    client.send_many({"to": TO, "body": i, "from_": str(i)} for i in range(3))
    a, b, c = take(client, batch=3)

    def waits() -> bool:
        with engine.connect() as connection:
            query = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return bool(connection.exec_driver_sql(query).scalar_one())

    with ThreadPoolExecutor(3) as pool:
        with b.handling():
            alone = pool.submit(b.ack)
            for m in (a, c):
                pool.submit(m.ack).result(timeout=60)
            eventually(waits, within_s=60)
            assert not alone.done()
        alone.result(timeout=60)  # it was handled by this very lease
    assert client.messages(state="open") == []


def test_sends_share_a_commit_and_a_bad_one_spoils_no_other(client: Client, engine: Engine) -> None:
    results = together([partial(client.send, TO, i, from_=FROM) for i in range(4)], client._sends)
    assert [v.id for v in reversed(client.messages())] == [UUID(r.result()) for r in results]
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(DISTINCT xmin::text) FROM messages").scalar_one() == 2
        connection.exec_driver_sql("ALTER TABLE messages ADD CHECK (sender <> 'evil')")

    results = together(
        [partial(client.send, TO, i, from_=who) for i, who in enumerate(["a", "b", "evil", "c"])], client._sends
    )
    assert [r.exception() is None for r in results] == [True, True, False, True]
    assert isinstance(results[2].exception(), IntegrityError)
    assert bodies(client, batch=9) == [0, 1, 3, 0, 1, 2, 3]


def test_inboxes_that_look_at_once_share_a_statement_and_each_gets_its_own(client: Client) -> None:
    names = [f"agent-{i}" for i in range(4)]
    client.send_many({"to": name, "body": [name, i], "from_": str(i)} for name in names for i in range(2))
    asked: list[int] = []
    claim = client._messages.claim

    def counted(wanted: list[Wanted]) -> list[Claimed]:
        asked.append(len(wanted))
        return claim(wanted)

    client._claims._carry_out = counted  # type: ignore[assignment]
    results = together([lambda n=n: bodies(client, n, batch=3) for n in [*names, "nobody"]], client._claims)  # type: ignore[misc]

    assert [r.result() for r in results] == [[[n, 0], [n, 1]] for n in names] + [[]]
    assert asked[:2] == [1, 4]


def test_a_connection_that_broke_costs_one_error_and_the_next_call_has_another(client: Client, engine: Engine) -> None:
    client.send_many({"to": TO, "body": i, "from_": str(i)} for i in range(3))
    client.send(TO, 3, from_="3")
    (msg, *_) = take(client, batch=4)
    msg.ack()
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'hotset-client%%'"
            " AND datname = current_database()"
        )
    for call in (partial(client.send, TO, "x"), partial(take, client), msg.ack):
        with pytest.raises(StoreUnavailable):
            call()
        call()
