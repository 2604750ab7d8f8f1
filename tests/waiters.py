"""Many waiters on many jobs, in processes of their own, while the broker and the cache are restarted under them.

As a program (`python waiters.py JOBS HOW`) it is one such process: it submits its jobs and waits for each in a thread
or a task of its own, and prints a line when it waits and a line of JSON at the end.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import redis
from sqlalchemy import Engine, event

from hotset import AsyncClient, Client
from hotset.embedded.valkey import Valkey, free_port
from stack import Stack, eventually

LIGHT = "log-aggregator-loki"
#: Model seconds of a run.
RUN_S = 0.5
WITHIN_S = 240.0


def wait_through_restarts(
    stack: Stack, home: Path, *, jobs: int, processes: int, how: str, restart: bool = True
) -> dict[str, Any]:
    """`jobs` in all, as many waiters. Queries and Redis connections are those of the waiting processes alone."""
    servers = [Valkey(home / name, name, port=free_port()).start() for name in ("broker", "cache")]
    stack.env |= {
        "HOTSET_BROKER_URL": servers[0].url,
        "HOTSET_CACHE_URL": servers[1].url,
        "HOTSET_RELAY_AFTER_S": "0.5",
    }
    stack.fleet()
    children: list[subprocess.Popen[str]] = []
    try:
        before = connections(servers)
        for _ in range(processes):
            command = [sys.executable, str(Path(__file__)), str(jobs // processes), how]
            out = subprocess.PIPE
            children.append(subprocess.Popen(command, env=stack.env, cwd=Path(__file__).parent, stdout=out, text=True))
        for child in children:
            assert child.stdout is not None and child.stdout.readline() == "waiting\n"
        # They wait, nothing runs: what they hold now is what waiting costs.
        held = {role: n - before[role] for role, n in connections(servers).items()}
        began = time.monotonic()
        stack.worker()
        if restart:
            done = ended_of(stack)
            eventually(lambda: done() >= jobs // 5, within_s=WITHIN_S, message=stack.log)
            for server in servers:
                server.stop()
            time.sleep(1.0)
            for server in servers:
                server.start()
            assert done() < jobs, "the restart came too late to show anything"
        answers = [json.loads(child.communicate(timeout=WITHIN_S)[0]) for child in children]
        return {
            "jobs": jobs,
            "processes": processes,
            "how": how,
            "answered": sum(a["answered"] for a in answers),
            "queries": sum(a["queries"] for a in answers),
            "queries_while_idle": sum(a["queries_while_idle"] for a in answers),
            "connections": held,
            "threads_most": max(a["threads"] for a in answers),
            "wall_s": round(time.monotonic() - began, 1),
        }
    finally:
        for child in children:
            child.kill()
            child.communicate()
        stack.close()
        for server in servers:
            server.stop()


def connections(servers: list[Valkey]) -> dict[str, int]:
    found = {}
    for server in servers:
        with redis.Redis.from_url(server.url) as client:
            found[server.role] = len(client.client_list()) - 1
    return found


def ended_of(stack: Stack) -> Callable[[], int]:
    def ended() -> int:
        with psycopg.connect(stack.env["HOTSET_DATABASE_URL"], autocommit=True) as connection:
            row = connection.execute("SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL").fetchone()
        assert row is not None
        return int(row[0])

    return ended


def main(jobs: int, how: str) -> None:
    queries = 0

    def count(*_: Any) -> None:
        nonlocal queries
        queries += 1

    event.listen(Engine, "before_cursor_execute", count)
    rows = [{"agent": LIGHT, "prompt": f"job {i}", "options": {"hotset_run_s": RUN_S}} for i in range(jobs)]
    wait = _in_threads if how == "threads" else lambda rows, say: asyncio.run(_in_tasks(rows, say))
    idle = 0

    def say() -> None:
        """Everybody waits: a while of that costs nothing."""
        nonlocal idle
        before = queries
        time.sleep(0.5)
        idle = queries - before
        print("waiting", flush=True)

    answered = wait(rows, say)
    print(json.dumps({"answered": answered, "queries": queries, "queries_while_idle": idle, "threads": _threads}))


_threads = 0


def _all_wait(listener: Any, jobs: int, say: Callable[[], None]) -> None:
    global _threads
    eventually(lambda: listener.waiting == jobs, within_s=60)
    time.sleep(0.3)
    _threads = threading.active_count()
    say()


def _in_threads(rows: list[dict[str, Any]], say: Callable[[], None]) -> int:
    with Client() as client, ThreadPoolExecutor(len(rows)) as pool:
        waits = [pool.submit(job.result, WITHIN_S) for job in client.submit_many(rows)]
        _all_wait(client._listener, len(rows), say)
        return sum(bool(wait.result().text) for wait in waits)


async def _in_tasks(rows: list[dict[str, Any]], say: Callable[[], None]) -> int:
    async with AsyncClient() as client:
        tasks = [asyncio.create_task(job.result(WITHIN_S)) for job in await client.submit_many(rows)]
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, _all_wait, client._sync._listener, len(rows), say)
        return sum(bool(result.text) for result in await asyncio.gather(*tasks))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
