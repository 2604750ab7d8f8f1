"""Jobs accepted per second by one producer, no worker running: a commit each, or one for a chunk; stock Celery beside.

The time of hotset's arms ends when the client is closed: rows committed, messages published, marks written. Celery's
messages lie in the same broker, in another database number, and carry model and prompt, as a stock user's would.
The arms take turns in slices, so that a noisy moment meets all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

import psycopg
from celery import Celery

from hotset.agents.demo import ROUNDS, demo_prompts
from hotset.client import Client
from hotset.errors import UsageError
from hotset.lab.figures import Run
from hotset.lab.stage import Addresses, Stage
from hotset.lab.stock import TASK, broker_beside, make_stock_app

#: The arms that send in bulk send so many times the jobs of those that send one by one.
_BULK = 8
_WARM_UP = 20
_SLICES = 10
#: Messages that one batch of kombu's producer holds (facts measured with it).
_BATCH = 500


def measure(stage: Stage, runs: int, jobs: int, progress: Callable[[str], None]) -> Iterator[Run]:
    arms = list(_ARMS)
    slices = min(_SLICES, jobs)
    for number in range(1, runs + 1):
        addresses = stage.fresh()
        _refuse_haste(addresses)
        took = dict.fromkeys(arms, 0.0)
        sent = dict.fromkeys(arms, 0)
        for _ in range(slices):
            for name in arms:
                count = jobs // slices * (_BULK if name in _IN_BULK else 1)
                took[name] += _ARMS[name](addresses, count)
                sent[name] += count
            arms.append(arms.pop(0))  # nobody is always the first
        run = {name: {"jobs_per_s": sent[name] / took[name]} for name in _ARMS}
        progress(
            f"run {number} of {runs}: "
            + ", ".join(f"{name} {figures['jobs_per_s']:,.0f} jobs/s" for name, figures in run.items())
        )
        yield run


def _submit(addresses: Addresses, count: int) -> float:
    with Client(settings=addresses.settings()) as client:
        for agent, prompt in _prompts(_WARM_UP):
            client.submit(agent, prompt)
        work = _prompts(count)
        began = time.perf_counter()
        for agent, prompt in work:
            client.submit(agent, prompt)
        client.close()
        return time.perf_counter() - began


def _submit_many(addresses: Addresses, count: int) -> float:
    with Client(settings=addresses.settings()) as client:
        client.submit_many(_prompts(_WARM_UP))
        work = _prompts(count)
        began = time.perf_counter()
        client.submit_many(work)
        client.close()
        return time.perf_counter() - began


def _celery(addresses: Addresses, count: int) -> float:
    app, task = _stock(addresses)
    work = [{"model": agent, "prompt": prompt} for agent, prompt in _prompts(count)]
    began = time.perf_counter()
    for kwargs in work:
        task.apply_async(kwargs=kwargs)
    took = time.perf_counter() - began
    app.close()
    return took


def _celery_batch(addresses: Addresses, count: int) -> float:
    app, task = _stock(addresses)
    work = [{"model": agent, "prompt": prompt} for agent, prompt in _prompts(count)]
    began = time.perf_counter()
    with app.producer_pool.acquire(block=True) as producer, producer.batch(_BATCH):
        for kwargs in work:
            task.apply_async(kwargs=kwargs, producer=producer)
    took = time.perf_counter() - began
    app.close()
    return took


_ARMS: dict[str, Callable[[Addresses, int], float]] = {
    "submit": _submit,
    "submit_many": _submit_many,
    "celery": _celery,
    "celery_batch": _celery_batch,
}
_IN_BULK = ("submit_many", "celery_batch")


def _stock(addresses: Addresses) -> tuple[Celery, Any]:
    app = make_stock_app(broker_beside(addresses.broker_url))
    task = app.tasks[TASK]
    for agent, prompt in _prompts(_WARM_UP):
        task.apply_async(kwargs={"model": agent, "prompt": prompt})
    return app, task


def _prompts(count: int) -> list[tuple[str, str]]:
    return list(islice(cycle(demo_prompts(ROUNDS)), count))


def _refuse_haste(addresses: Addresses) -> None:
    """Commits that a power cut may undo would make any figure here worthless."""
    with psycopg.connect(addresses.database_url) as connection:
        for setting in ("fsync", "synchronous_commit"):
            row = connection.execute("SELECT current_setting(%s)", [setting]).fetchone()
            if row is None or row[0] != "on":
                raise UsageError(
                    f"Postgres runs with {setting}={row[0] if row else '?'}: its submits would be measured too fast.",
                    remedy="Turn it on in postgresql.conf.",
                )
