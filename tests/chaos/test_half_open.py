"""Connections that lead nowhere and do not say so, to broker, Postgres and model server: found, and made anew."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from auditor import conserved
from hotset import Client
from hotset.client.job import Job
from hotset.fleet_file import read_fleet
from hotset.jobs import State
from proxy import Proxy
from stack import PATIENCE, Stack, eventually

LIGHT, BALANCED = "log-aggregator-loki", "senior-backend-developer"
#: Wall seconds within which work goes on, the users' promise.
FOUND_S = 60.0


@contextmanager
def steady(client: Client) -> Iterator[list[Job]]:
    """A job each third of a second; the list grows."""
    jobs: list[Job] = []
    stop = threading.Event()

    def submit() -> None:
        while not stop.wait(0.33):
            agent = BALANCED if len(jobs) % 5 == 0 else LIGHT
            jobs.append(client.submit(agent, f"job {len(jobs)}", options={"hotset_run_s": 20}))

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        yield jobs
    finally:
        stop.set()
        thread.join()


def survive(stack: Stack, proxy: Proxy, what: str, *, silent_s: float, found: Callable[[], bool]) -> None:
    """Fall silent under load for a while, then let new connections through; everything must end well."""
    client = stack.client()
    client.submit(LIGHT, "warm").result(timeout=60)
    with steady(client) as jobs:
        eventually(lambda: any(job.status is State.RUNNING for job in jobs), within_s=20, message=stack.log)
        silent = proxy.swallow()
        time.sleep(silent_s)
        proxy.heal()
        later = client.submit(LIGHT, "after the silence")
        later.result(timeout=PATIENCE * FOUND_S)
        eventually(found, within_s=FOUND_S, message=stack.log)
        healed_s = time.monotonic() - silent
    for job in jobs:
        job.result(timeout=PATIENCE * 60)
    assert [worker.poll() for worker in stack.workers] == [None], stack.log()
    doubled = sum(job.view.attempt > 1 for job in jobs)
    print(json.dumps({"half_open": what, "jobs": len(jobs), "working_again_s": round(healed_s, 1), "reruns": doubled}))
    assert healed_s <= PATIENCE * FOUND_S
    print(json.dumps(conserved(stack.env["HOTSET_DATABASE_URL"])))


@pytest.mark.parametrize("silent_s", [0.0, 15.0], ids=["forgotten", "away"])
def test_to_the_broker(stack: Stack, silent_s: float) -> None:
    stack.fleet()
    with Proxy.of_url(stack.env["HOTSET_BROKER_URL"]) as proxy:
        stack.worker(HOTSET_BROKER_URL=proxy.in_place_of(stack.env["HOTSET_BROKER_URL"]))
        # Longer than a lease, which is renewed in Postgres whatever the broker does: it runs once.
        long = stack.client().submit(LIGHT, "long", options={"hotset_run_s": 2500})
        survive(stack, proxy, "broker", silent_s=silent_s, found=lambda: True)
        assert long.result(timeout=PATIENCE * 60) and long.view.attempt == 1
        # Everything that listens has been made anew as well: a cancellation is heard at once, Celery's control works.
        eventually(lambda: hears_a_cancellation(stack), within_s=FOUND_S, message=stack.log)


def hears_a_cancellation(stack: Stack) -> bool:
    client = stack.client()
    job = client.submit(LIGHT, "long", options={"hotset_run_s": 2000})
    eventually(lambda: job.status is State.RUNNING, within_s=20, message=stack.log)
    asked = time.monotonic()
    job.cancel("enough")
    eventually(lambda: job.status.terminal, within_s=10)
    return time.monotonic() - asked < 1.5


@pytest.mark.parametrize("silent_s", [0.0, 12.0], ids=["forgotten", "away"])
def test_to_postgres(stack: Stack, silent_s: float) -> None:
    stack.fleet()
    with Proxy.of_postgres(stack.env["HOTSET_DATABASE_URL"]) as proxy:
        stack.worker(HOTSET_DATABASE_URL=proxy.in_place_of(stack.env["HOTSET_DATABASE_URL"]))
        survive(stack, proxy, "postgres", silent_s=silent_s, found=lambda: "Postgres does not answer" in stack.log())


def test_to_postgres_from_a_client_that_submits_and_waits(stack: Stack) -> None:
    stack.fleet()
    stack.worker()
    with Proxy.of_postgres(stack.env["HOTSET_DATABASE_URL"]) as proxy:
        address = proxy.in_place_of(stack.env["HOTSET_DATABASE_URL"])
        client = stack.client(database_url=address, database_timeout_s=3.0)
        job = client.submit(LIGHT, "x", idempotency_key="before")
        proxy.swallow()
        began = time.monotonic()
        with pytest.raises(Exception, match="no answer within 3 s"):
            client.submit(LIGHT, "y", idempotency_key="after")
        assert time.monotonic() - began < PATIENCE * 10
        proxy.heal()
        # Whether it was accepted nobody could know; the key makes asking again harmless.
        again = client.submit(LIGHT, "y", idempotency_key="after")
        assert again.result(timeout=60) and job.result(timeout=60)
    print(json.dumps(conserved(stack.env["HOTSET_DATABASE_URL"])))


@pytest.mark.parametrize("silent_s", [0.0, 15.0], ids=["forgotten", "away"])
def test_to_the_model_server(stack: Stack, silent_s: float) -> None:
    # As long as a model may be silent so long a run waits: the timeouts are the fleet's, here short ones.
    stack.env |= {"HOTSET_STALL_TIMEOUT_S": "10", "HOTSET_FIRST_TOKEN_TIMEOUT_S": "15"}
    stack.fleet()
    address = read_fleet(stack.fleet_path).gpus[0].address
    assert address is not None
    with Proxy.of_url(address) as proxy:
        stack._write({"gpu0": f", address: '{proxy.in_place_of(address)}'"})
        stack.worker()
        survive(stack, proxy, "model server", silent_s=silent_s, found=lambda: True)
