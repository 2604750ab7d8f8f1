"""Fair shares on a real worker: what one tenant or agent floods the queue with holds up no other for long."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
import redis

from hotset import Client
from hotset.broker import Lanes
from hotset.jobs.filters import JobFilter
from hotset.store import make_engine
from hotset.store.upkeep import queued_page
from stack import Stack, eventually

LIGHT, OTHER = "log-aggregator-loki", "agent-debugger"
RUN_S = 20.0
FLOOD, FEW = 1000, 10
#: The credit is two and a half of these jobs; then both take turns, on two slots.
MOST_BEFORE = 40


@pytest.fixture
def flooded(stack: Stack) -> Iterator[Stack]:
    """A worker, and a tenant with a thousand jobs, each due before those that come later. None is overdue meanwhile:
    an overdue job goes first, whoever it belongs to."""
    stack.fleet()
    text = stack.fleet_path.read_text("utf-8").replace("max_wait_s: 900", "max_wait_s: 90000")
    stack.fleet_path.write_text(text.replace("run_s: 2.0", f"run_s: {RUN_S}"), "utf-8")
    client = stack.client(tenant="flood")
    client.submit_many(job(LIGHT, deadline=20_000) for _ in range(FLOOD))
    stack.worker()
    eventually(lambda: started(stack, "flood") >= 5, within_s=30, message=stack.log)
    yield stack
    # What still runs ends at once.
    client.cancel_all(JobFilter())


def job(agent: str, *, deadline: float) -> dict[str, object]:
    return {"agent": agent, "prompt": "x", "deadline": deadline, "options": {"hotset_run_s": RUN_S}}


def started(stack: Stack, tenant: str, agent: str = LIGHT) -> int:
    with psycopg.connect(stack.env["HOTSET_DATABASE_URL"]) as connection:
        query = "SELECT count(*) FROM jobs WHERE tenant = %s AND agent = %s AND attempt > 0"
        row = connection.execute(query, [tenant, agent]).fetchone()
    assert row is not None
    return int(row[0])


def started_before_a_few_end(stack: Stack, client: Client, agent: str) -> int:
    """How many jobs of the flood started while a few of that client came and went."""
    before = started(stack, "flood")
    jobs = client.submit_many(job(agent, deadline=30_000) for _ in range(FEW))
    for each in jobs:
        each.result(timeout=120)
    return started(stack, "flood") - before


def test_a_flood_holds_up_neither_other_tenants_nor_other_agents(flooded: Stack) -> None:
    assert started_before_a_few_end(flooded, flooded.client(tenant="quiet"), LIGHT) <= MOST_BEFORE
    assert started_before_a_few_end(flooded, flooded.client(tenant="flood"), OTHER) <= MOST_BEFORE
    assert started(flooded, "flood") < FLOOD - FEW, "the flood was not over anyhow"


def test_a_flush_loses_accounts_and_no_job_and_shares_stay_fair(flooded: Stack) -> None:
    with redis.Redis.from_url(flooded.env["HOTSET_BROKER_URL"]) as broker:
        broker.flushdb()
    engine = make_engine(flooded.env["HOTSET_DATABASE_URL"], application="test")
    lanes = Lanes(flooded.env["HOTSET_BROKER_URL"])
    try:
        # As the upkeep does every 20 s.
        lanes.publish(lanes.missing(queued_page(engine, UUID(int=0), older_s=0.0)))
        assert started_before_a_few_end(flooded, flooded.client(tenant="quiet"), LIGHT) <= MOST_BEFORE
        flood = flooded.client(tenant="flood")
        flood.cancel_all(JobFilter())
        assert lanes.lengths(["tinyllama"]) == {"tinyllama": 0}
        # A cancelled job leaves nothing behind that counts as waiting.
        assert list(lanes.redis.scan_iter("hs:waiting:*")) == []
        assert flooded.client(tenant="quiet").submit(LIGHT, "x").result(timeout=120)
    finally:
        engine.dispose()
        lanes.close()
