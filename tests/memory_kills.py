"""Killed in the middle of consolidating, demoting and restoring: what is left of the memories.

As a program it is a nest: for each line of input it forks a process that does all three in any order without end, and
says its id. Who asked kills it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import psycopg

from hotset import Client

START = datetime(2026, 1, 1, tzinfo=UTC)
#: New memories before each kill, so that there is something to consolidate.
NEW = 5


def texts(count: int) -> list[str]:
    """No two are alike, and some give a new value of what others say."""
    return [f"Shelf {i % 40} holds the box number {i // 40}." for i in range(count)]


def kill_again_and_again(client: Client, memories: int, kills: int, seed: int = 1) -> dict[str, Any]:
    """So many memories and more of them, and kills at random moments of a round. `faults`: what is lost, doubled or
    damaged, looked for after each kill and at the end; the rest says where the kills fell."""
    rng = random.Random(seed)
    url = client.settings.database_url.get_secret_value()
    longest_s = _fill(client, 0, memories)
    said: dict[str, Any] = {"kills": kills, "memories": memories + NEW * kills, "in_a_transaction": 0, "half_way": 0}
    faults: list[str] = []
    with nest(client) as born, psycopg.connect(url, autocommit=True) as connection:
        for i in range(kills):
            _fill(client, memories + NEW * i, NEW, rounds=False)
            said["in_a_transaction"] += kill_one(born, rng.random() * longest_s, connection)
            cold = "SELECT count(*) FILTER (WHERE state = 'cold'), count(*) FROM memories"
            found = connection.execute(cold).fetchone()
            assert found is not None
            said["half_way"] += 0 < found[0] < memories
            faults += [fault for drill in client.memory_check() for fault in drill.faults]
    return {**said, "longest_s": round(longest_s, 2), "faults": faults + _lost(client, memories + NEW * kills)}


def _fill(client: Client, first: int, count: int, *, rounds: bool = True) -> float:
    """Wall seconds of one round of everything, afterwards."""
    new = list(enumerate(texts(first + count)))[first:]
    client.memory("project:shop").remember_many([{"text": t, "at": START + timedelta(hours=i)} for i, t in new])
    if not rounds:
        return 0.0
    client.consolidate()
    began = time.monotonic()
    client.demote()
    client.memory_restore()
    return time.monotonic() - began


def _lost(client: Client, count: int) -> list[str]:
    client.consolidate()
    client.memory_restore()
    with psycopg.connect(client.settings.database_url.get_secret_value()) as connection:
        kept = [text for (text,) in connection.execute("SELECT text FROM memories ORDER BY text")]
        segments = connection.execute("SELECT count(*) FROM memory_segments").fetchone()
    found = []
    if kept != sorted(texts(count)):
        found.append(f"{len(kept)} memories with {len(set(kept))} texts of {count}")
    if segments != (0,):
        found.append(f"{segments} segments are left though everything is warm")
    return found


@contextmanager
def nest(client: Client, work: str = "tiers") -> Iterator[subprocess.Popen[str]]:
    """`work`: what those that are born do without end; "tiers", "summaries" or "keys"."""
    names = ("database_url", "cache_url", "broker_url")
    urls = {f"HOTSET_{name.upper()}": getattr(client.settings, name).get_secret_value() for name in names}
    command = [sys.executable, __file__, client.tenant, work]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **urls}
    ) as process:
        try:
            yield process
        finally:
            _pipe(process.stdin).close()


def kill_one(
    born: subprocess.Popen[str], after_s: float, connection: psycopg.Connection, within_s: float = 0.0
) -> bool:
    """Let it work for a moment, and so much longer until it is in the middle of a transaction, and kill it; whether it
    was."""
    _pipe(born.stdin).write("another\n")
    _pipe(born.stdin).flush()
    pid = int(_pipe(born.stdout).readline())
    time.sleep(after_s)
    busy = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND xact_start < now() AND pid <> %s"
    until = time.monotonic() + within_s
    while not (in_the_middle := connection.execute(busy, [connection.info.backend_pid]).fetchone() is not None):
        if time.monotonic() >= until:
            break
    os.kill(pid, signal.SIGKILL)
    assert _pipe(born.stdout).readline() == "dead\n"
    return in_the_middle


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _work(tenant: str, work: str) -> None:
    with Client(tenant=tenant) as client:
        client.memory_stats()
        print(os.getpid(), flush=True)
        while True:
            if work == "summaries":
                client.summarise()
            elif work == "keys":
                client.extract_keys()
            else:
                random.choice((client.consolidate, client.demote, client.memory_restore))()


def _main(tenant: str, work: str) -> None:
    from hotset.memory import extraction, room, summaries, upkeep  # noqa: F401 - so that no child has to import them

    for _ in sys.stdin:
        pid = os.fork()
        if not pid:
            _work(tenant, work)
        os.waitpid(pid, 0)
        print("dead", flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
