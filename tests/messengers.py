"""Messages among 131 agents while consumers are killed and broker and cache are restarted: what came of each.

As a program it is a nursery: for each line, a list of agents, it forks a consumer and says its process id. A consumer
handles what comes into these agents' inboxes, each in a thread of its own, in the transaction that acknowledges it,
until it is killed. The table that handlers write to refuses nothing: what is handled twice, or in the wrong order, can
be seen there.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import IO, Any

import psycopg

from hotset import Client, HotsetError
from hotset.embedded.valkey import Valkey, free_port
from hotset.lab.figures import percentile
from stack import PATIENCE, Stack

AGENTS = [f"agent-{i:03}" for i in range(131)]
#: A consumer that was killed keeps its message from the others for so long.
LEASE_S = 3.0
PROCESSES = 4
SENDERS = 4
#: Messages that one commit sends.
TOGETHER = 10


def messages_asked() -> int:
    return int(os.environ.get("HOTSET_TEST_MESSAGES", "3000"))


def deliver_through_kills(
    stack: Stack, home: Path, *, messages: int, every_s: float = 2.0, seed: int = 1
) -> dict[str, Any]:
    """`twice`, `missing`: messages; `out_of_order`: pairs; `deliveries` counts those that were for nothing, too."""
    rng = random.Random(seed)
    servers = [Valkey(home / name, name, port=free_port()).start() for name in ("broker", "cache")]
    stack.env |= {"HOTSET_BROKER_URL": servers[0].url, "HOTSET_CACHE_URL": servers[1].url}
    stack.fleet()
    log = (stack.folder / "consumers.log").open("ab")
    nursery = Nursery(stack.env, log)
    kills = restarts = 0
    with psycopg.connect(stack.env["HOTSET_DATABASE_URL"], autocommit=True) as database:
        database.execute(
            "CREATE TABLE handled (at_place bigserial, sender text, recipient text, n integer,"
            " latency_s double precision)"
        )
        try:
            for i in range(PROCESSES):
                nursery.raise_one(AGENTS[i::PROCESSES])
            began = time.monotonic()
            with ThreadPoolExecutor(SENDERS) as pool, stack.client() as client:
                plans = [_plan(i, messages, seed) for i in range(SENDERS)]
                sending = [pool.submit(_send, client, plan) for plan in plans]
                # Kept up until everything has been sent and handled, which the last kill must not be the end of.
                until = began + PATIENCE * (120 + messages / 50)
                while not all(s.done() for s in sending) or _open(database):
                    assert time.monotonic() < until, f"{_open(database)} messages are open"
                    time.sleep(every_s)
                    nursery.kill_one(rng)
                    kills += 1
                    if kills % 2:
                        for server in servers:
                            server.stop()
                        for server in servers:
                            server.start()
                        restarts += 1
                assert not [s.exception() for s in sending if s.exception()]
            took = time.monotonic() - began
        finally:
            nursery.close()
            log.close()
            for server in servers:
                server.stop()
        return {
            "messages": messages,
            "kills": kills,
            "restarts": restarts,
            **_verdict(database, [m for plan in plans for m in plan]),
            "took_s": round(took, 1),
        }


def _verdict(database: psycopg.Connection[Any], sent: list[tuple[str, str, int]]) -> dict[str, Any]:
    rows = database.execute("SELECT sender, recipient, n, latency_s FROM handled ORDER BY at_place").fetchall()
    times = Counter((sender, recipient, n) for sender, recipient, n, _ in rows)
    last: dict[tuple[str, str], int] = {}
    wrong = set()
    for sender, recipient, n, _ in rows:
        if n != last.get((sender, recipient), 0) + 1:
            wrong.add((sender, recipient))
        last[sender, recipient] = n
    tried = database.execute("SELECT sum(attempts), count(*) FILTER (WHERE state = 'dead') FROM messages").fetchone()
    assert tried is not None
    latencies = [latency for *_, latency in rows]
    return {
        "handled": len(rows),
        "twice": sum(n > 1 for n in times.values()),
        "missing": len(set(sent) - times.keys()),
        "pairs": len(last),
        "out_of_order": len(wrong),
        "deliveries": tried[0],
        "dead": tried[1],
        "latency_s_p50": round(percentile(latencies, 0.5), 3),
        "latency_s_p99": round(percentile(latencies, 0.99), 3),
    }


def _plan(sender: int, messages: int, seed: int) -> list[tuple[str, str, int]]:
    """(from, to, number within the pair): some pairs talk often, most seldom."""
    rng = random.Random(f"{seed}-{sender}")
    mine = AGENTS[sender::SENDERS]
    counts: Counter[tuple[str, str]] = Counter()
    plan = []
    for _ in range(messages // SENDERS):
        one = rng.choice(mine[:3] if rng.random() < 0.3 else mine)
        pair = (one, rng.choice(AGENTS[:5] if rng.random() < 0.2 else AGENTS))
        counts[pair] += 1
        plan.append((*pair, counts[pair]))
    return plan


def _send(client: Client, plan: list[tuple[str, str, int]]) -> None:
    rest = iter(plan)
    while together := list(islice(rest, TOGETHER)):
        rows = [
            {"from_": s, "to": r, "body": {"n": n}, "key": f"{r} {n}", "max_deliveries": 1000} for s, r, n in together
        ]
        while True:
            try:
                client.send_many(rows)
                break
            except HotsetError as e:
                assert e.retryable, e
                time.sleep(0.1)


def _open(database: psycopg.Connection[Any]) -> int:
    row = database.execute("SELECT count(*) FROM messages WHERE state = 'open'").fetchone()
    assert row is not None
    return int(row[0])


class Nursery:
    """A process that has everything imported: a consumer that is killed is followed by another at once."""

    def __init__(self, env: dict[str, str], log: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            env=env,
            cwd=Path(__file__).parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        self._consumers: dict[int, list[str]] = {}

    def raise_one(self, agents: list[str]) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(agents) + "\n")
        self._process.stdin.flush()
        self._consumers[int(self._process.stdout.readline())] = agents

    def kill_one(self, rng: random.Random) -> None:
        pid = rng.choice(list(self._consumers))
        os.kill(pid, signal.SIGKILL)
        self.raise_one(self._consumers.pop(pid))

    def close(self) -> None:
        for pid in self._consumers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.communicate()


def consume(client: Client, agent: str) -> None:
    """Handle what comes, until this process is killed."""
    for msg in client.inbox(agent, lease_s=LEASE_S):
        try:
            with msg.handling() as connection:
                connection.exec_driver_sql(
                    "INSERT INTO handled (sender, recipient, n, latency_s)"
                    " VALUES (%s, %s, %s, extract(epoch FROM clock_timestamp() - %s))",
                    (msg.from_, agent, msg.body["n"], msg.sent_at),
                )
        except HotsetError as e:
            print(agent, e, file=sys.stderr, flush=True)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended: killed
    while line := sys.stdin.readline():
        if pid := os.fork():
            print(pid, flush=True)
        else:
            client = Client()
            for agent in json.loads(line):
                threading.Thread(target=consume, args=(client, agent)).start()
            return


if __name__ == "__main__":
    main()
