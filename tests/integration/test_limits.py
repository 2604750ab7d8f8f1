"""Limits on what is submitted: never exceeded in any minute, refused before anything is accepted, nothing lost."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import redis

import hotset
from hotset.broker.rates import Overdrawn, Rates
from hotset.errors import BrokerUnavailable, InvalidSettings, RateLimited
from hotset.jobs.limits import Demand
from stack import Stack, eventually

LIGHT, BALANCED = "log-aggregator-loki", "senior-backend-developer"
MINUTE_S = 60 * 0.01


def limited(stack: Stack, text: str, **overrides: object) -> hotset.Client:
    path = stack.folder / "limits.yaml"
    path.write_text(text)
    return stack.fleet().client(limits=path, **overrides)


def rows(client: hotset.Client) -> int:
    return sum(n for states in client.counts().values() for n in states.values())


MANY = """
import json, sys, time
from hotset.broker.rates import Overdrawn, Rates
from hotset.jobs.limits import Demand
url, until = sys.argv[1], time.time() + 4.5
rates = Rates(url, scale=1 / 60)  # a minute is a second
asked = [Demand("tenant", "t", "requests_per_min", 30, 1), Demand("tenant", "t", "tokens_per_min", 1000, 40)]
done = []
rates.admit([Demand("tenant", "warm", "requests_per_min", 9, 1)])
while time.time() < until:
    began = time.time()
    try:
        rates.admit(asked)
        done.append((began, time.time()))
    except Overdrawn:
        time.sleep(0.002)
print(json.dumps(done))
"""


def test_no_window_ever_holds_more_than_the_limit_whoever_asks(cache_url: str) -> None:
    """Three processes press as hard as they can. 25 × 40 tokens are the tighter limit of the two."""
    processes = [
        subprocess.Popen([sys.executable, "-c", MANY, cache_url], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    admitted = sorted(tuple(pair) for p in processes for pair in json.loads(p.communicate(timeout=60)[0]))
    # Counted at a moment between began and ended: those that lie wholly within a second.
    most = max(sum(a >= began and b <= began + 1.0 for a, b in admitted) for began, _ in admitted)
    assert most <= 25, most
    assert len(admitted) >= 50, "it admits, window after window"


def test_all_or_nothing_and_what_is_given_back_is_free_again(cache_url: str) -> None:
    rates = Rates(cache_url, scale=1)
    tight = Demand("tenant", "a", "requests_per_min", 2, 2)
    wide = Demand("agent", "b", "requests_per_min", 3, 2)
    ticket = rates.admit([wide, tight])
    with pytest.raises(Overdrawn) as refused:
        rates.admit([Demand("agent", "b", "requests_per_min", 3, 1), Demand("tenant", "a", "requests_per_min", 2, 1)])
    assert refused.value.demand.name == "a" and 55 < (refused.value.wait_s or 0) <= 62
    rates.admit([Demand("agent", "b", "requests_per_min", 3, 1)])  # the refusal had counted nothing of it
    rates.give_back([wide, tight], ticket)
    rates.admit([tight])
    with pytest.raises(Overdrawn) as never:
        rates.admit([Demand("tenant", "c", "tokens_per_min", 10, 11)])
    assert never.value.wait_s is None
    rates.close()


def test_over_the_limit_is_refused_before_it_is_accepted_and_says_when(stack: Stack) -> None:
    client = limited(stack, f"agents: {{{LIGHT}: {{requests_per_min: 3}}}}\n")
    for i in range(3):
        client.submit(LIGHT, f"{i}")
    with pytest.raises(RateLimited, match=r"Agent 'log-aggregator-loki' may have 3 requests a minute") as refused:
        client.submit(LIGHT, "too many")
    assert refused.value.retryable and 0 < refused.value.retry_after_s <= 62 / 60 * MINUTE_S
    assert rows(client) == 3
    client.submit(BALANCED, "another agent")
    began = time.monotonic()
    assert client.submit(LIGHT, "waits", wait=True).id
    assert time.monotonic() - began < 30 and rows(client) == 5


def test_a_batch_goes_in_chunks_that_can_be_admitted_and_waits_if_asked(stack: Stack) -> None:
    client = limited(stack, "tenants: {'*': {requests_per_min: 20, tokens_per_min: 6000}}\n")
    rows_ = [(LIGHT, f"job {i}") for i in range(30)]  # 515 tokens each: eleven a minute
    with pytest.raises(RateLimited) as refused:
        client.submit_many(rows_)
    before = rows(client)
    assert before % 5 == 0 and f"{before} jobs of earlier chunks" in str(refused.value)
    began = time.monotonic()
    assert len(client.submit_many(rows_, wait=True)) == 30
    assert time.monotonic() - began > MINUTE_S and rows(client) == before + 30
    with pytest.raises(RateLimited, match="Submit less at once"):
        client.submit(LIGHT, "x " * 20_000, wait=True)


def test_async_callers_wait_without_a_thread(stack: Stack) -> None:
    path = limited(stack, "tenants: {default: {requests_per_min: 10}}\n").settings

    async def all_of_them() -> list[str]:
        async with hotset.AsyncClient(settings=path, threads=2) as client:
            jobs = await asyncio.gather(*(client.submit(LIGHT, f"{i}", wait=30.0) for i in range(24)))
            with pytest.raises(RateLimited):
                await asyncio.gather(*(client.submit(LIGHT, f"{i}") for i in range(11)))
            return [job.id for job in jobs]

    assert len(set(asyncio.run(all_of_them()))) == 24


def test_open_jobs_are_never_more_than_allowed_however_many_submit(stack: Stack) -> None:
    client = limited(stack, "queues: {tinyllama: {open_jobs: 7}}\ntenants: {default: {requests_per_min: 1000}}\n")
    refused: list[float | None] = []
    accepted: list[str] = []

    def submit(number: int) -> None:
        for i in range(4):
            try:
                accepted.append(client.submit(LIGHT, f"{number}.{i}").id)
            except RateLimited as e:
                refused.append(e.retry_after_s)

    threads = [threading.Thread(target=submit, args=(i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(accepted) == 7 == rows(client) and len(refused) == 13 and all(s and s > 0 for s in refused)
    client.submit(BALANCED, "another queue has room")
    flow = hotset.group([hotset.step(LIGHT, "a"), hotset.step(LIGHT, "b")])
    with pytest.raises(RateLimited):
        client.submit(flow)
    client.job(accepted[0]).cancel()
    client.job(accepted[1]).cancel()
    assert client.submit(flow).jobs and rows(client) == 10


def test_a_refusal_by_the_store_gives_back_what_was_counted(stack: Stack) -> None:
    client = limited(
        stack, "queues: {tinyllama: {open_jobs: 1}}\ntenants: {default: {requests_per_min: 3}}\n", scale=1.0
    )
    client.submit(LIGHT, "the one")
    for _ in range(5):
        with pytest.raises(RateLimited, match="1 open jobs"):
            client.submit(LIGHT, "no room")
    client.submit(BALANCED, "two of three are left")
    client.submit(BALANCED, "one of three is left")
    with pytest.raises(RateLimited, match="3 requests a minute"):
        client.submit(BALANCED, "none")


def test_without_the_cache_limits_are_open_or_closed_as_set(stack: Stack) -> None:
    stack.env["HOTSET_CACHE_URL"] = "redis://127.0.0.1:1/0"
    client = limited(stack, "tenants: {default: {requests_per_min: 1}}\n")
    began = time.monotonic()
    assert [client.submit(LIGHT, "open") for _ in range(3)]
    assert time.monotonic() - began < 20
    strict = stack.client(limits=stack.folder / "limits.yaml", limits_required=True)
    with pytest.raises(BrokerUnavailable):
        strict.submit(LIGHT, "closed")
    assert rows(client) == 3


def test_a_flushed_cache_forgets_a_minute_and_no_more(stack: Stack, cache_url: str) -> None:
    client = limited(stack, "tenants: {default: {requests_per_min: 1}}\n", scale=1.0)
    client.submit(LIGHT, "1")
    with redis.Redis.from_url(cache_url) as cache:
        cache.flushall()
    client.submit(LIGHT, "2")
    with pytest.raises(RateLimited):
        client.submit(LIGHT, "3")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "tenants:\n  a: {request_per_min: 5}\n",
            r"limits\.yaml:2: tenant 'a' has no setting 'request_per_min'; did you",
        ),
        (
            "agents:\n  log-agregator-loki: {open_jobs: 5}\n",
            r":2: there is no agent .* did you mean 'log-aggregator-loki'",
        ),
        ("queues: {qwen: {open_jobs: 1.5}}\n", r":1: 'open_jobs' of queue 'qwen' is 1.5; write a whole number"),
        ("queues: {qwen: {open_jobs: -1}}\n", r":1: .* number above zero"),
        ("tenants: {a: {}}\n", r":1: tenant 'a' has no limit"),
        ("tenant: {}\n", r":1: a limits file has no setting 'tenant'; did you mean 'tenants'"),
        ("- x\n", r":1: a limits file is not a mapping"),
        ("", r":1: the file is empty"),
    ],
)
def test_a_wrong_file_is_told_by_line_and_fix(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    with pytest.raises(InvalidSettings, match=said):
        hotset.Client(settings=hotset.load_settings({}, limits=path))
    with pytest.raises(InvalidSettings, match="cannot be read"):
        hotset.Client(settings=hotset.load_settings({}, limits=tmp_path / "none.yaml"))


def test_estimates_shrink_as_jobs_end(stack: Stack) -> None:
    client = limited(stack, "queues: {tinyllama: {open_jobs: 2}}\n")
    jobs = [client.submit(LIGHT, "x") for _ in range(2)]
    with pytest.raises(RateLimited) as unknown:
        client.submit(LIGHT, "y")
    for job in jobs:
        job.cancel()
    jobs = [client.submit(LIGHT, "x") for _ in range(2)]
    with pytest.raises(RateLimited) as known:
        client.submit(LIGHT, "y")
    assert unknown.value.retry_after_s == 5.0 and known.value.retry_after_s == 30.0
    waiter = threading.Thread(target=lambda: client.submit(LIGHT, "z", wait=True))
    waiter.start()
    jobs[0].cancel()
    eventually(lambda: not waiter.is_alive(), within_s=20)
