"""A hundred kills in the middle of consolidation, demotion and restoring: nothing lost, doubled or damaged."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hotset import Client
from hotset.settings import load_settings

CRASHER = Path(__file__).parents[1] / "integration" / "memory_crasher.py"
KILLS = 100
START = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_hundred_kills(database: str, cache_url: str, broker_url: str) -> None:
    urls = {"database_url": database, "cache_url": cache_url, "broker_url": broker_url}
    env = {**os.environ, **{f"HOTSET_{name.upper()}": url for name, url in urls.items()}}
    with Client(settings=load_settings({}, **urls), tenant="acme") as client:
        memory = client.memory("project:shop")
        texts = {f"Shelf {i % 40} holds box {i // 40}." for i in range(800)}
        memory.remember_many([{"text": t, "at": START + timedelta(hours=i)} for i, t in enumerate(sorted(texts))])
        for _ in range(KILLS):
            command = [sys.executable, str(CRASHER), client.tenant]
            with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as child:
                assert child.stdout is not None
                assert json.loads(child.stdout.readline()) == {"ready": True}
                time.sleep(random.random() * 0.5)
                child.send_signal(signal.SIGKILL)
            assert all(d.faults == () for d in client.memory_check())
        client.memory_restore()
        client.consolidate()
        stats = client.memory_stats()
        assert stats["segments"] == []
        assert sum(m["memories"] for m in stats["memories"]) == len(texts)
        found = {m.text for t in sorted(texts)[::20] for m in memory.search(t, k=5, threshold=0.0)}
        assert set(sorted(texts)[::20]) <= found
