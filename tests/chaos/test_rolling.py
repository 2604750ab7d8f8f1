"""Workers restarted again and again, some killed at the end of their grace, hostile messages meanwhile, and 131 clients
that wait: nothing is lost, nobody's memory grows, and waiting costs the database nothing.

A minute by default; HOTSET_TEST_CHAOS=full takes an hour, with a restart every two minutes. A third worker lives all
the time: of those that are restarted none gets old enough to show whether it grows.
"""

from __future__ import annotations

import base64
import json
import math
import os
import random
import signal
import statistics
import subprocess
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, event

from auditor import conserved
from hotset.agents import load_registry
from hotset.fleet_file import read_fleet
from lengths import FULL
from stack import Stack, eventually

LASTS_S, EVERY_S = (3600.0, 120.0) if FULL else (45.0, 12.0)
CLIENTS = 131
#: Means that a slope is drawn through: a minute each, of half an hour.
BLOCKS = 30
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


def hostile(rng: random.Random) -> bytes:
    """Something that nobody can run."""
    deep = base64.b64encode(b"[[],{}," + b'{"a":' * 500 + b"1" + b"}" * 500 + b"]").decode()
    task = {"lang": "py", "id": str(uuid.UUID(int=rng.getrandbits(128))), "retries": 0, "eta": None}
    body = base64.b64encode(
        json.dumps([[], {"agent": "'; DROP TABLE jobs; --", "prompt": "$(id)"}, {}]).encode()
    ).decode()
    envelope: dict[str, Any] = {
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "properties": {"body_encoding": "base64", "delivery_info": {"exchange": "", "routing_key": "tinyllama"}},
    }
    kinds = [
        b"\x00\xff\xfe" * 100,
        b"x" * 2_000_000,
        json.dumps({**envelope, "headers": {**task, "task": "os.system"}, "body": body}).encode(),
        json.dumps({**envelope, "headers": {**task, "task": "hotset.run"}, "body": deep}).encode(),
        json.dumps({**envelope, "headers": {**task, "task": "hotset.run"}, "body": body}).encode(),
        json.dumps({**envelope, "headers": {**task, "task": "hotset.run"}, "body": "%%%"}).encode(),
    ]
    return rng.choice(kinds)


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MB


def slope(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """MB per hour by least squares, and the half width of its 95 % confidence interval. Points: (seconds, MB).

    Of neighbouring points the mean counts, once: memory follows itself, and many looks at it are not many measurements.
    """
    size = max(1, len(points) // BLOCKS)
    blocks = [points[i : i + size] for i in range(0, len(points) - size + 1, size)]
    points = [(statistics.fmean(t for t, _ in block), statistics.fmean(m for _, m in block)) for block in blocks]
    hours, mb = [t / 3600 for t, _ in points], [m for _, m in points]
    found = statistics.linear_regression(hours, mb)
    middle = statistics.fmean(hours)
    spread = sum((h - middle) ** 2 for h in hours)
    error = sum((m - found.intercept - found.slope * h) ** 2 for h, m in zip(hours, mb, strict=True))
    # Student's t for 95 % is 1.96 for many points and above 2 for few; 2.2 for ten.
    width = (1.96 + 2.4 / (len(points) - 2)) * math.sqrt(error / (len(points) - 2) / spread)
    return found.slope, width


class Rolling:
    """The workers of three GPUs, of which two are restarted, one at a time."""

    def __init__(self, stack: Stack, rng: random.Random) -> None:
        self._stack, self._rng = stack, rng
        self._workers = {gpu: stack.worker(gpu) for gpu in ("gpu0", "gpu1", "gpu2")}
        self.restarts = self.killed = 0
        self.lock = threading.Lock()
        #: A series of (seconds, MB) for each process that lived.
        self.memory: dict[int, list[tuple[float, float]]] = {}

    def restart(self) -> None:
        gpu = ("gpu0", "gpu1")[self.restarts % 2]
        old = self._workers[gpu]
        os.killpg(old.pid, signal.SIGTERM)
        grace_s = float(self._stack.env["HOTSET_STOP_GRACE_S"])
        try:
            # Every third does not get to the end of its grace.
            old.wait(timeout=grace_s if self.restarts % 3 == 2 else 40)
        except subprocess.TimeoutExpired:
            self.killed += 1
        with self.lock:
            self._stack.kill(old)
            self._workers[gpu] = self._stack.worker(gpu)
        self.restarts += 1

    def weigh(self, began: float) -> None:
        with self.lock:
            for worker in self._workers.values():
                if worker.poll() is None:
                    at = (time.monotonic() - began, resident_mb(worker.pid))
                    self.memory.setdefault(worker.pid, []).append(at)


@pytest.mark.timeout(2 * LASTS_S + 240)
def test_rolling_restarts_with_hostile_payloads_and_waiting_clients(stack: Stack) -> None:
    rng = random.Random(1)
    stack.env |= {"HOTSET_LEASE_S": "3", "HOTSET_HEARTBEAT_S": "0.7", "HOTSET_STOP_GRACE_S": "0.5"}
    stack.env |= {"HOTSET_RELAY_AFTER_S": "0.5"}
    stack.fleet(gpus=3)
    agents = [agent.name for agent in load_registry(read_fleet(stack.fleet_path), None)]
    assert len(agents) == CLIENTS
    client = stack.client()
    queries = 0

    def count(*_: Any) -> None:
        nonlocal queries
        queries += 1

    event.listen(Engine, "before_cursor_execute", count)
    rolling = Rolling(stack, rng)
    stop = threading.Event()
    answered: list[int] = [0] * CLIENTS
    sent = 0

    def loop(i: int) -> None:
        """One agent's life: ask, wait for the answer, ask again."""
        own = random.Random(i)
        while not stop.is_set():
            asked = {"hotset_run_s": own.uniform(5, 60 if FULL else 20)}
            client.submit(agents[i], f"question {answered[i]}", options=asked, max_retries=50).result(timeout=1800)
            answered[i] += 1

    def disturb() -> None:
        nonlocal sent
        with redis.Redis.from_url(stack.env["HOTSET_BROKER_URL"]) as broker:
            while not stop.wait(1.0):
                broker.lpush(rng.choice(["tinyllama", "qwen", "deepseek"]), hostile(rng))
                sent += 1

    began = time.monotonic()
    own_memory: list[tuple[float, float]] = []
    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        waiting = [pool.submit(loop, i) for i in range(CLIENTS)]
        disturbing = pool.submit(disturb)
        try:
            due = EVERY_S
            while (now := time.monotonic() - began) < LASTS_S:
                if now >= due:
                    due += EVERY_S
                    rolling.restart()
                rolling.weigh(began)
                own_memory.append((time.monotonic() - began, resident_mb(os.getpid())))
                time.sleep(0.5)
        finally:
            stop.set()
        disturbing.result()
        for each in waiting:
            each.result(timeout=1800)
    figures = {
        "lasted_s": round(time.monotonic() - began),
        "restarts": rolling.restarts,
        "killed_at_the_end_of_grace": rolling.killed,
        "hostile": sent,
        "answered": sum(answered),
        "queries": queries,
        "queries_per_answer": round(queries / sum(answered), 2),
    }
    # A slope needs a while after the start, where caches fill: the second half of what the one that lived on saw.
    longest = max(rolling.memory.values(), key=len)
    slopes = {"worker": slope(longest[len(longest) // 2 :]), "clients": slope(own_memory[len(own_memory) // 2 :])}
    figures |= {f"{who}_mb_per_h": [round(mb, 1), round(width, 1)] for who, (mb, width) in slopes.items()}
    figures["seen_for_s"] = [round(longest[-1][0] - longest[0][0]), round(own_memory[-1][0])]
    print(json.dumps(figures))
    # Submitting is an INSERT and a mark, an answer is a SELECT, and restarts of nothing that waits for us cost nothing.
    assert queries <= 6 * sum(answered), figures
    if FULL:  # in less than an hour a worker is still growing into its caches, and the figure says nothing
        assert all(mb - width < 20 for mb, width in slopes.values()), figures
    # Everybody waits, nothing ends: then the database is asked nothing.
    for worker in list(stack.workers):
        stack.kill(worker)
    stuck = client.submit_many((name, "later") for name in agents)
    with ThreadPoolExecutor(CLIENTS) as pool:
        waiters = [pool.submit(job.result, 600) for job in stuck]
        eventually(lambda: client._listener.waiting == CLIENTS, within_s=30)
        time.sleep(1.0)  # what a waiter asks when it begins is over
        before = queries
        time.sleep(5.0)  # the window that is measured
        idle = queries - before
        stack.worker("gpu0")
        assert all(waiter.result().text for waiter in waiters)
    event.remove(Engine, "before_cursor_execute", count)
    print(json.dumps({"queries_of_131_waiters_in_5_s": idle}))
    assert idle == 0
    balance = conserved(stack.env["HOTSET_DATABASE_URL"])
    print(json.dumps(balance))
    assert balance["succeeded"] == sum(answered) + CLIENTS
    assert not any(balance[end] for end in ("failed", "cancelled", "expired", "quarantined", "open")), balance
