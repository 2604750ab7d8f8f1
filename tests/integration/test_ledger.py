"""The swap ledger against the model server's own trace, and the slot seconds beside it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from uuid_utils.compat import uuid7

from hotset import Client
from hotset.jobs import State
from hotset.store import ledger
from hotset.store.ledger import Miss, Slots, Swap
from hotset_worker.ledger import Ledger
from stack import Stack, eventually

LIGHT, BALANCED, COMPLEX = "log-aggregator-loki", "senior-backend-developer", "system-architect"

#: Wall seconds that the way to the server and back may take on a busy machine.
SLOW_S = 2.0


def events(stack: Stack, kind: str) -> list[dict[str, Any]]:
    return [e for line in stack.trace().read_text().splitlines() if (e := json.loads(line))["event"] == kind]


def settled(client: Client, jobs: int) -> list[Swap]:
    """All rows, oldest first, once the last job is in them."""
    eventually(
        lambda: sum(s.jobs_served for s in ledger.swaps(client.engine)) == jobs,
        within_s=15,
        message=lambda: str(ledger.swaps(client.engine)),
    )
    return ledger.swaps(client.engine)[::-1]


def test_the_ledger_says_what_the_model_server_did(stack: Stack) -> None:
    stack.env["HOTSET_SCALE"] = "0.02"
    stack.fleet()
    stack.worker()
    client = stack.client()
    done = 0
    for agent in (BALANCED, LIGHT, COMPLEX, BALANCED):
        jobs = client.submit_many({"agent": agent, "prompt": "x", "options": {"hotset_run_s": 5}} for _ in range(4))
        done += len(jobs.results(timeout=60))
    rows = settled(client, done)
    loads, evicted = events(stack, "load"), events(stack, "evict")
    assert [row.model for row in rows] == [e["model"] for e in loads] and len(loads) >= 3
    assert Counter(v for row in rows for v in row.victims) == Counter(e["model"] for e in evicted)
    at = {(e["event"], e["model"], round(e["t"], 3)) for e in (*loads, *events(stack, "loaded"))}
    assert len(at) == 2 * len(loads)
    for row, load, loaded in zip(rows, loads, events(stack, "loaded"), strict=True):
        assert row.ok and row.error is None and row.gpu == "gpu0" and row.reason
        assert row.load_s is not None and row.drain_s is not None and row.ended_at is not None
        # The server's own load, and the evictions and the way there on top.
        true_s = loaded["t"] - load["t"]
        assert true_s <= row.load_s <= 1.3 * true_s + SLOW_S / 0.02, (row, true_s)
        assert row.idle_slot_s >= 0.5 * row.load_s
    per_model = Counter(e["model"] for e in events(stack, "finish"))
    served: Counter[str] = Counter()
    for row in rows:
        served[row.model] += row.jobs_served
    assert served == per_model
    gone = [row for row in rows if row.left_at is not None]
    assert Counter(row.model for row in gone) == Counter(e["model"] for e in evicted)
    assert all(row.left_at > row.ended_at for row in gone if row.left_at and row.ended_at)

    # What the slots did adds up to what the runs and loads took.
    ran_s = sum(view.run_s or 0.0 for view in client.jobs(limit=100))
    eventually(lambda: ledger.slots_lately(client.engine).get("gpu0", Slots()).busy >= 0.7 * ran_s, within_s=10)
    slots = ledger.slots_lately(client.engine)["gpu0"]
    assert max(5.0 * done, 0.7 * ran_s) <= slots.busy <= 1.3 * ran_s + done * SLOW_S / 0.02, (slots, ran_s)
    loaded_s = sum(row.idle_slot_s for row in rows)
    assert slots.loading + slots.draining == pytest.approx(loaded_s, rel=0.1, abs=SLOW_S / 0.02), (slots, loaded_s)
    shares = slots.shares()
    assert 0 < (shares["load_share"] or 0) < 1
    assert shares["distance_to_unlimited"] == pytest.approx((shares["load_share"] or 0) + (shares["drain_share"] or 0))
    day = ledger.days(client.engine)[0]
    assert (day.swaps, day.failed, day.jobs) == (len(rows), 0, done) and day.slots == slots


def test_a_load_that_fails_is_a_row_with_its_error(stack: Stack) -> None:
    stack.fleet(faults={"load_crash": 1.0})
    stack.worker()
    client = stack.client()
    job = client.submit(LIGHT, "x")
    eventually(lambda: any(s.ok is False for s in ledger.swaps(client.engine)), within_s=20)
    row = next(s for s in ledger.swaps(client.engine) if s.ok is False)
    assert row.error and row.left_at is not None and row.jobs_served == 0
    assert ledger.days(client.engine)[0].swaps == 0 and ledger.days(client.engine)[0].failed >= 1
    assert job.status is State.QUEUED


def test_a_dead_workers_rows_are_taken_over_or_closed(engine: Engine) -> None:
    before = datetime.now(UTC) - timedelta(minutes=5)
    there, gone, torn = (
        Swap(uuid7(), "gpu0", "old", before, "why", model, ended_at=before, ok=ok)
        for model, ok in (("a", True), ("b", True), ("c", None))
    )
    other = Swap(uuid7(), "gpu1", "w", before, "why", "b", ended_at=before, ok=True)
    ledger.write_swaps(engine, [there, gone, torn, other])
    book = Ledger("gpu0", "new")
    book.decided("d", (), "free VRAM")
    book.write(engine)  # the model server has not answered yet: nothing is taken over
    book.there(["a"])
    book.served("a")  # before it is known whose row that is
    book.write(engine)
    book.served("a")
    book.draining_over(0.0)
    book.ended(2.0, None)
    book.there(["a", "d"])
    book.served("d")
    book.there(["d"])
    book.write(engine)
    rows = {s.id: s for s in ledger.swaps(engine)}
    assert rows[there.id].jobs_served == 2 and rows[there.id].left_at is not None
    assert rows[gone.id].left_at is not None and rows[gone.id].ok
    assert rows[torn.id].ok is False and rows[torn.id].error == "Its worker died."
    assert rows[other.id] == other
    new = next(s for s in rows.values() if s.model == "d")
    assert (new.jobs_served, new.left_at, new.load_s, new.ok) == (1, None, 2.0, True)


def test_slots_and_forecasts_add_up_and_old_rows_go(engine: Engine) -> None:
    book = Ledger("gpu0", "w")
    book.passed(10.0, busy=1, free=1, switching=None, work=True)
    book.passed(4.0, busy=0, free=2, switching="load", work=True)
    book.passed(3.0, busy=1, free=1, switching="drain", work=True)
    book.passed(99.0, busy=0, free=2, switching=None, work=False)
    book.write_slots(engine)
    book.write_slots(engine)
    book.passed(1.0, busy=2, free=0, switching=None, work=True)
    book.write_slots(engine)
    slots = ledger.slots_lately(engine)["gpu0"]
    assert slots == Slots(busy=15.0, loading=8.0, draining=3.0, idle=10.0) and slots.total == 36.0
    assert slots.shares()["distance_to_unlimited"] == pytest.approx(11 / 36)
    assert Slots().shares()["goodput"] is None

    ledger.add_misses(engine, [Miss("qwen", 4.0, 20.0), Miss("qwen", -2.0, 10.0)])
    ledger.add_misses(engine, [Miss("qwen", 1.0, 30.0), Miss("tinyllama", 0.0, 1.0)])
    found = {a.queue: a for a in ledger.accuracy(engine)}
    assert (found["qwen"].n, found["qwen"].mean_abs_s, found["qwen"].bias_s) == (3, pytest.approx(7 / 3), 1.0)

    now = datetime.now(UTC)
    old = Swap(uuid7(), "gpu0", "w", now - timedelta(days=91), "why", "m")
    new = replace(old, id=uuid7(), decided_at=now - timedelta(days=89))
    ledger.write_swaps(engine, [old, new])
    ledger.trim(engine)
    assert [s.id for s in ledger.swaps(engine)] == [new.id] and ledger.slots_lately(engine)
