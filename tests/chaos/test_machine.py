"""What machines do: clocks that jump, disks that fill up, and parts of hotset that are there twice.

Clocks are shifted where the product reads them, without a library that fakes time: nothing of hotset compares clocks
of two machines. Leases and deadlines are the database's, the lanes' times the broker's; when one of them jumps, that is
as if all times that it wrote before had moved by as much. Workers and clients measure with monotonic clocks.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import redis
from uuid_utils.compat import uuid7

from auditor import conserved
from conftest import QUICK
from hotset import Client
from hotset.broker import Lanes
from hotset.embedded.postgres import Postgres
from hotset.errors import StoreUnavailable
from hotset.jobs import NewJob, State
from hotset.store import JobStore, make_engine, migrate, upkeep
from stack import Stack, eventually

LIGHT, BALANCED = "log-aggregator-loki", "senior-backend-developer"
HOUR_MS = 3_600_000


@pytest.mark.parametrize("jump_s", [3600, -3600], ids=["forward", "back"])
def test_the_clock_of_postgres_jumps(stack: Stack, jump_s: int) -> None:
    stack.env |= {"HOTSET_LEASE_S": "3", "HOTSET_HEARTBEAT_S": "0.5", "HOTSET_RELAY_AFTER_S": "0.5"}
    stack.fleet().worker()
    client = stack.client()
    jobs = client.submit_many((LIGHT, f"{i}") for i in range(30))
    long = [client.submit(LIGHT, "long", options={"hotset_run_s": 300}) for _ in range(2)]
    eventually(lambda: any(job.status is State.RUNNING for job in long), within_s=30, message=stack.log)
    # The clock is an hour further: everything written before is an hour older.
    with psycopg.connect(stack.env["HOTSET_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(
            "UPDATE jobs SET lease_until = lease_until - %(s)s::interval, arrived_at = arrived_at - %(s)s::interval,"
            " deadline_at = deadline_at - %(s)s::interval, published_at = published_at - %(s)s::interval,"
            " started_at = started_at - %(s)s::interval WHERE finished_at IS NULL",
            {"s": f"{jump_s} seconds"},
        )
    later = client.submit_many((LIGHT, f"after {i}") for i in range(10))
    for job in [*jobs, *long, *later]:
        job.result(timeout=120)
    reruns = sum(job.view.attempt > 1 for job in [*jobs, *long, *later])
    crashes = sum(job.view.crashes for job in [*jobs, *long, *later])
    print(json.dumps({"postgres_clock_jump_s": jump_s, "jobs": 42, "reruns": reruns, "counted_as_crashes": crashes}))
    # Forward, what runs at that moment may look lost before its next heartbeat: it is run again, and counts once.
    assert reruns <= 2
    print(json.dumps(conserved(stack.env["HOTSET_DATABASE_URL"])))


@pytest.mark.parametrize("jump_ms", [HOUR_MS, -HOUR_MS], ids=["forward", "back"])
def test_the_clock_of_the_broker_jumps(stack: Stack, jump_ms: int) -> None:
    stack.env |= {"HOTSET_LEASE_S": "3", "HOTSET_HEARTBEAT_S": "0.5", "HOTSET_RELAY_AFTER_S": "0.5"}
    stack.fleet().worker()
    client = stack.client()
    jobs = client.submit_many({"agent": LIGHT, "prompt": f"{i}", "options": {"hotset_run_s": 20}} for i in range(60))
    eventually(lambda: any(job.status is State.RUNNING for job in jobs), within_s=30, message=stack.log)
    with redis.Redis.from_url(stack.env["HOTSET_BROKER_URL"]) as broker:
        for pattern in ("hs:arrival:*", "hs:deadline:*", "hs:own:*", "hs:unacked:index", "hs:gpus"):
            for key in broker.scan_iter(pattern):
                for member in broker.zrange(key, 0, -1):
                    if broker.zscore(key, member) is not None:
                        broker.zincrby(key, -jump_ms, member)
    for job in jobs:
        job.result(timeout=120)
    assert [(job.view.attempt, job.view.crashes) for job in jobs] == [(1, 0)] * len(jobs)
    print(json.dumps(conserved(stack.env["HOTSET_DATABASE_URL"])))


def test_two_relays_and_two_reconcilers_share_the_work(stack: Stack) -> None:
    url = stack.env["HOTSET_DATABASE_URL"]
    engine = make_engine(url, application="test-relays")
    store = JobStore(engine)
    new = [NewJob(id=uuid7(), agent=LIGHT, queue="tinyllama", prompt="x") for _ in range(3000)]
    for first in range(0, len(new), 1000):
        store.accept(new[first : first + 1000], actor="t")
    published: list[int] = []

    def relay() -> None:
        own = make_engine(url, application="test-relay")
        lanes = Lanes(stack.env["HOTSET_BROKER_URL"])
        while found := upkeep.relay(own, lanes.publish, after_s=-1, limit=100):
            published.append(found)
        lanes.close()
        own.dispose()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(relay) for _ in range(2)]:
            done.result()
    assert sum(published) == len(new), "each row by one of them"
    lanes = Lanes(stack.env["HOTSET_BROKER_URL"])
    assert lanes.lengths(["tinyllama"]) == {"tinyllama": len(new)}
    # The broker forgets a third; two reconcilers find it at the same time, and each job is there once.
    lanes.remove("tinyllama", *(job.id for job in new[::3]))
    engine_2 = make_engine(url, application="test-reconciler")

    def reconcile() -> None:
        own = Lanes(stack.env["HOTSET_BROKER_URL"])
        after = UUID(int=0)
        while page := upkeep.queued_page(engine_2, after, older_s=-1):
            own.publish(own.missing(page))
            after = page[-1].id
        own.close()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(reconcile) for _ in range(2)]:
            done.result()
    assert lanes.lengths(["tinyllama"]) == {"tinyllama": len(new)}
    lanes.close()
    engine.dispose()
    engine_2.dispose()
    print(json.dumps(conserved(url)))


def test_two_workers_with_one_name(stack: Stack) -> None:
    """The second waits, says so, and takes over when the first is killed; no job runs twice."""
    stack.env |= {"HOTSET_LEASE_S": "2", "HOTSET_HEARTBEAT_S": "0.5", "HOTSET_RELAY_AFTER_S": "0.5"}
    stack.fleet()
    first, second = stack.worker("gpu0"), stack.worker("gpu0")
    client = stack.client()
    jobs = client.submit_many({"agent": LIGHT, "prompt": f"{i}", "options": {"hotset_run_s": 10}} for i in range(60))
    eventually(lambda: "is served by" in stack.log(), within_s=30, message=stack.log)
    jobs[0].result(timeout=60)
    seated = {view.worker for view in client.jobs(state="running") if view.worker}
    killed = first if any(f":{first.pid}-" in str(name) for name in seated) else second
    stack.kill(killed)
    for job in jobs:
        job.result(timeout=120)
    assert sum(job.view.attempt > 1 for job in jobs) <= 2, "those that the killed one ran, and no other"
    print(json.dumps(conserved(stack.env["HOTSET_DATABASE_URL"])))


@contextlib.contextmanager
def small_disk(folder: Path, mb: int) -> Iterator[Path]:
    """A file system of that size; skipped where nobody may mount one."""
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={mb}m,mode=711", "tmpfs", str(folder)], capture_output=True
        ).returncode
    ):
        pytest.skip("a small file system can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def test_the_disk_of_postgres_is_full(stack: Stack, server_home: Path) -> None:
    with small_disk(server_home / "disk", 260) as disk:
        postgres = Postgres(disk / "postgres", settings={**QUICK, "max_wal_size": "64MB", "min_wal_size": "32MB"})
        postgres.start()
        ballast = disk / "ballast"
        try:
            migrate(postgres.url)
            stack.env |= {"HOTSET_DATABASE_URL": postgres.url, "HOTSET_LEASE_S": "4", "HOTSET_HEARTBEAT_S": "1"}
            stack.fleet().worker()
            client = stack.client()
            client.submit(LIGHT, "warm").result(timeout=60)
            accepted = list(client.submit_many((LIGHT, f"before {i}") for i in range(20)))
            fill(ballast)
            refused = 0
            until = time.monotonic() + 20
            while time.monotonic() < until and refused < 5:
                try:
                    # Long texts, so that new pages are needed at once.
                    accepted.append(client.submit(LIGHT, os.urandom(50_000).hex()))
                except StoreUnavailable as error:
                    refused += 1
                    assert "Postgres" in str(error)
                fill(ballast)
            assert refused > 0, "nothing was refused: the disk was not full"
            # The worker meets it as well, at a claim or at the end of a run.
            eventually(lambda: "No space left" in stack.log(), within_s=30, message=stack.log)
            ballast.unlink()
            if postgres.process is None or not postgres.process.alive():
                postgres.start()
            eventually(lambda: works(client), within_s=60, message=stack.log)
            for job in accepted:
                job.result(timeout=120)
            print(json.dumps({"accepted": len(accepted), "refused": refused}))
            print(json.dumps(conserved(postgres.url)))
        finally:
            stack.close()
            ballast.unlink(missing_ok=True)
            postgres.stop()


def fill(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65536))


def works(client: Client) -> bool:
    with contextlib.suppress(StoreUnavailable):
        client.submit(LIGHT, "works again")
        return True
    return False
