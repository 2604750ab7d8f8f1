"""Flower knows our workers, our tasks and the true lengths of our queues."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from subprocess import Popen

import httpx
import pytest

from stack import Stack, eventually

AGENT = "senior-backend-developer"


@pytest.fixture
def flower(start: Callable[..., Popen[str]]) -> Iterator[httpx.Client]:
    process = start("flower", "--port", "0", "--json", FLOWER_UNAUTHENTICATED_API="true")
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["url"]
    assert url.startswith("http://127.0.0.1:")
    with httpx.Client(base_url=url, timeout=20, trust_env=False) as client:
        yield client
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


def test_the_broker_page_counts_the_lanes(stack: Stack, flower: httpx.Client) -> None:
    stack.client().submit_many((AGENT, f"task {i}") for i in range(7))
    row = re.search(r'<tr id="qwen">(.*?)</tr>', flower.get("/broker").text, re.DOTALL)
    assert row is not None and re.findall(r"<td[^>]*>(\w+)</td>", row[1])[:2] == ["qwen", "7"]
    lengths = {queue["name"]: queue["messages"] for queue in flower.get("/api/queues/length").json()["active_queues"]}
    assert lengths == {"deepseek": 0, "qwen": 7, "tinyllama": 0}


def test_worker_and_tasks_are_shown(stack: Stack, flower: httpx.Client) -> None:
    stack.worker()

    def worker() -> dict[str, object]:
        found = flower.get("/api/workers", params={"refresh": "true"}).json()
        return next((said for name, said in found.items() if name.startswith("gpu0@")), {})

    eventually(lambda: {"active_queues", "registered", "stats"} <= set(worker()), within_s=30, message=stack.log)
    job = stack.client().submit(AGENT, "Say what is secret.")
    job.result(timeout=30)
    eventually(lambda: flower.get(f"/api/task/info/{job.id}").json().get("state") == "SUCCESS", within_s=20)
    task = flower.get(f"/api/task/info/{job.id}").json()
    assert task["name"] == "hotset.run" and AGENT in str(task["kwargs"])
    # Prompts stay in Postgres.
    assert "secret" not in json.dumps(task)
