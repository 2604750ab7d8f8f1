"""Flower knows our workers, our tasks and the true lengths of our queues."""

from __future__ import annotations

import contextlib
import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess, Popen
from typing import Any

import httpx
import pytest

from hotset.broker import make_app
from hotset.broker.flower import check_access
from hotset.errors import InvalidSettings, UsageError
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


def test_it_ends_when_told_though_its_broker_has_gone(start: Callable[..., Popen[str]]) -> None:
    process = start("flower", "--port", "0", "--json", HOTSET_BROKER_URL="redis://127.0.0.1:1/0")
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["url"]
    with httpx.Client(base_url=url, timeout=3, trust_env=False) as client, contextlib.suppress(httpx.TimeoutException):
        client.get("/workers", params={"refresh": "1"})  # asks the workers, by a thread that waits for the broker
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0


def test_tasks_are_shown_as_they_are_and_no_prompt_is(stack: Stack, flower: httpx.Client) -> None:
    """One worker, and jobs that come to each end that Flower knows."""
    stack.worker()
    client = stack.client()
    # Whoever connects first makes the workers' list; a worker sends events once Flower has asked for them.
    eventually(lambda: {"active_queues", "registered", "stats"} <= set(_worker(flower)), within_s=30, message=stack.log)

    def state(job: Any) -> str:
        return str(_task(flower, job.id).get("state"))

    good = client.submit(AGENT, "Say what is secret.")
    answer = good.result(timeout=120).text
    bad = client.submit(AGENT, "A secret again.", options={"hotset_fault": "cut"}, max_retries=0)
    again = client.submit(AGENT, "Another secret.", options={"hotset_fault": "cut"}, max_retries=1)
    eventually(lambda: again.status.terminal, within_s=30)
    long = [client.submit(AGENT, "A long secret.", options={"hotset_run_s": 3000}) for _ in range(2)]
    eventually(lambda: all(job.status == "running" for job in long), within_s=20)
    waiting = client.submit(AGENT, "A patient secret.")
    celery = make_app(stack.env["HOTSET_BROKER_URL"], client.fleet.queues)
    celery.control.revoke(waiting.id)
    # The messages of a plain producer carry the prompt, and so do their events.
    asked = {"agent": AGENT, "prompt": "A plain secret.", "tenant": "acme"}
    plain = celery.send_task("hotset.run", kwargs=asked, queue="qwen")
    for job in long:
        job.cancel(reason="enough")
    revoked, failed = (waiting, *long), (bad, again)
    ends = dict.fromkeys(revoked, "REVOKED") | dict.fromkeys(failed, "FAILURE") | {good: "SUCCESS", plain: "SUCCESS"}
    for job, end in ends.items():
        eventually(lambda job=job, end=end: state(job) == end, within_s=20, message=lambda job=job: state(job))
    assert {job.status for job in revoked} == {"cancelled"}

    tasks = flower.get("/api/tasks").json()
    assert len(tasks) == 7
    for task in tasks.values():
        assert task["name"] == "hotset.run" and re.fullmatch(r"gpu0@.+", task["worker"])
        # What was revoked before any worker received it is known by its id alone.
        if task["uuid"] != waiting.id:
            tenant = "acme" if task["uuid"] == plain.id else "default"
            assert AGENT in task["kwargs"] and f"'tenant': '{tenant}'" in task["kwargs"]
    # Prompts and answers stay in Postgres.
    pages = json.dumps(tasks) + flower.get("/tasks").text + flower.get(f"/task/{plain.id}").text
    assert "secret" not in pages and answer[20:60] not in pages
    assert tasks[str(again.id)]["retried"] is not None


def _task(flower: httpx.Client, task_id: str) -> dict[str, Any]:
    """Nothing until Flower has heard of it."""
    answer = flower.get(f"/api/task/info/{task_id}")
    return answer.json() if answer.is_success else {}


def _worker(flower: httpx.Client) -> dict[str, Any]:
    found = flower.get("/api/workers", params={"refresh": "true"}).json()
    # Named after its GPU, although nobody said -n: two workers on one host do not clash.
    return next((said for name, said in found.items() if name.startswith("gpu0@")), {})


def test_with_a_login_nobody_looks_without_it(start: Callable[..., Popen[str]], tmp_path: Path) -> None:
    process = start("flower", "--host", "0.0.0.0", "--port", "0", "--json", HOTSET_FLOWER_AUTH="ann:s3cret")
    assert process.stdout is not None
    port = json.loads(process.stdout.readline())["url"].rpartition(":")[2]
    assert "s3cret" not in Path(f"/proc/{process.pid}/cmdline").read_text()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
        for page in ("/workers", "/broker", "/api/workers"):
            assert client.get(page).status_code == 401
            assert client.get(page, auth=("ann", "wrong")).status_code == 401
            assert client.get(page, auth=("ann", "s3cret")).status_code == 200


def test_without_a_login_it_listens_to_this_machine_only(hotset: Callable[..., CompletedProcess[str]]) -> None:
    refused = hotset("flower", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 2 and "HOTSET_FLOWER_AUTH" in refused.stderr
    bad = hotset("flower", HOTSET_FLOWER_AUTH="s3cretwithoutuser")
    assert bad.returncode == 2 and "s3cret" not in bad.stderr + bad.stdout


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback(host: str) -> None:
    check_access(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "no.such.host.invalid"])
def test_not_loopback(host: str) -> None:
    with pytest.raises(UsageError):
        check_access(host, None)
    check_access(host, "ann:secret")
    with pytest.raises(InvalidSettings):
        check_access(host, ":secret")
