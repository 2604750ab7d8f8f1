"""What a model server can do wrong: each job ends right, is tried again only where that helps, and what the worker
believes to be loaded is what the server has loaded, a moment later."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from auditor import conserved
from hotset import Client, Job
from hotset.broker import Board
from hotset.embedded.valkey import free_port
from hotset.jobs import JobView, State
from hotset.models import canonical
from stack import PATIENCE, Stack, eventually

LIGHT, BALANCED, COMPLEX = "log-aggregator-loki", "senior-backend-developer", "system-architect"
#: Wall seconds until the worker's belief equals the server's truth.
AGREE_S = 2.0
#: Those that strike in a run; the run is lost and tried again.
IN_A_RUN = ("cut", "crash", "oom", "nonsense", "repeat", "stall", "hang", "busy")
#: Those that strike in a load; no job is running then, and none is to pay for it.
AT_LOAD = ("load_crash", "load_oom", "load_oom_once", "load_timeout")


class Served:
    """A worker and its model server, a process of its own that can be killed."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        stack._write({"gpu0": f", address: '{self.address}'"})
        stack.env |= {
            "HOTSET_FIRST_TOKEN_TIMEOUT_S": "2",
            "HOTSET_STALL_TIMEOUT_S": "2",
            "HOTSET_LOAD_TIMEOUT_S": "20",
            "HOTSET_RETRY_BACKOFF_S": "20",  # model seconds
        }
        self.serve()
        stack.worker()
        self.client: Client = stack.client()
        self.client.submit(LIGHT, "warm").result(timeout=60)

    def serve(self, fleet: Path | None = None) -> None:
        """Start it; `fleet`: in place of the stack's."""
        served = str(fleet or self.stack.fleet_path)
        words = ["serve", "--simulate", "--gpu", "gpu0", "--port", str(self.port), "--fleet", served]
        with (self.stack.folder / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                [sys.executable, "-m", "hotset.cli", *words, "--scale", self.stack.env["HOTSET_SCALE"]],
                env=self.stack.env,
                cwd=self.stack.folder,
                stdout=log,
                stderr=log,
            )
        eventually(self.answers, within_s=30, message=(self.stack.folder / "server.log").read_text)

    def answers(self) -> bool:
        try:
            return httpx.get(self.address, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        self.server.kill()
        self.server.wait()

    def switch(self, **faults: object) -> None:
        body = {"faults": faults}
        httpx.post(f"{self.address}/hotset/faults", json=body, trust_env=False).raise_for_status()

    def struck(self) -> int:
        said = httpx.get(f"{self.address}/hotset/faults", trust_env=False).json()["faults"]
        return sum(int(one["done"]) for one in said)

    def loaded(self) -> set[str]:
        said = httpx.get(f"{self.address}/api/ps", trust_env=False).json()["models"]
        return {canonical(one["name"]) for one in said}

    def believed(self, board: Board) -> set[str]:
        return {model for gpu in board.read().values() for model in gpu.residents}

    def agree_s(self) -> float:
        """Wall seconds until board and server say the same."""
        began = time.monotonic()
        with redis.Redis.from_url(self.stack.env["HOTSET_BROKER_URL"], decode_responses=True) as connection:
            board = Board(connection)
            eventually(
                lambda: self.believed(board) == self.loaded(),
                within_s=AGREE_S,
                message=lambda: f"believed {self.believed(board)}, loaded {self.loaded()}",
            )
        return time.monotonic() - began


@pytest.fixture(scope="module")
def served(module_stack: Stack) -> Iterator[Served]:
    served = Served(module_stack)
    yield served
    served.kill()


def show(**figures: object) -> None:
    print(json.dumps(figures))


def shown(fault: str, agree_s: float, jobs: list[Job]) -> list[JobView]:
    """The jobs as they ended, with what the fault cost them printed."""
    views = [job.view for job in jobs]
    failures, attempts = [v.failures for v in views], [v.attempt for v in views]
    show(fault=fault, agree_s=round(agree_s, 2), failures=failures, attempts=attempts)
    return views


@pytest.mark.parametrize("fault", IN_A_RUN)
def test_a_run_that_fails_is_tried_again_and_succeeds(served: Served, fault: str) -> None:
    client = served.client
    client.submit(LIGHT, "the model is there").result(timeout=60)
    served.switch(**{f"{fault}@tinyllama": 1})
    jobs = [client.submit(LIGHT, f"{fault} {i}", options={"hotset_run_s": 10}, max_retries=30) for i in range(3)]
    eventually(lambda: served.struck() > 0, within_s=30, message=served.stack.log)
    agree_s = served.agree_s()
    served.switch()
    for job in jobs:
        job.result(timeout=PATIENCE * 40)
    views = shown(fault, agree_s, jobs)
    assert max(v.failures for v in views) >= 1
    assert not any(v.crashes for v in views), "the worker lived"
    assert all(v.attempt == v.failures + 1 for v in views)
    served.agree_s()


@pytest.mark.parametrize("fault", AT_LOAD)
def test_a_load_that_fails_costs_no_job_an_attempt(served: Served, fault: str) -> None:
    client = served.client
    # Another model takes the GPU, so that this one has to be loaded.
    client.submit(COMPLEX, "away with the others", options={"hotset_run_s": 5}).result(timeout=PATIENCE * 60)
    served.switch(**{f"{fault}@qwen2.5-coder:7b": 1})
    jobs = [client.submit(BALANCED, f"{fault} {i}", options={"hotset_run_s": 5}) for i in range(3)]
    eventually(lambda: served.struck() > 0, within_s=30, message=served.stack.log)
    agree_s = served.agree_s()
    # Others are not held up by it: a model that can be loaded is.
    other = client.submit(LIGHT, "meanwhile", options={"hotset_run_s": 5})
    other.result(timeout=PATIENCE * 60)
    served.switch()
    for job in jobs:
        job.result(timeout=PATIENCE * 90)
    views = shown(fault, agree_s, jobs)
    assert [(v.attempt, v.failures, v.crashes) for v in views] == [(1, 0, 0)] * 3
    served.agree_s()


def test_what_always_fails_ends_as_failed_after_its_retries_and_no_later(served: Served) -> None:
    served.switch(**{"nonsense@tinyllama": 1})
    job = served.client.submit(LIGHT, "in vain", max_retries=2)
    eventually(lambda: job.status is State.FAILED, within_s=60, message=served.stack.log)
    served.switch()
    view = job.view
    assert (view.attempt, view.failures, view.error_kind) == (3, 3, "GenerationFailed")
    assert "no JSON object" in (view.error or "")


def test_a_server_that_lost_a_model_costs_no_job_an_attempt(served: Served) -> None:
    served.kill()
    poorer = served.stack.folder / "poorer.yaml"
    fleet = served.stack.fleet_path.read_text()
    poorer.write_text("".join(line for line in fleet.splitlines(keepends=True) if "deepseek" not in line))
    served.serve(poorer)
    waits = served.client.submit(COMPLEX, "it may come back", options={"hotset_run_s": 5})
    gone = served.client.submit(COMPLEX, "it may not", queue_timeout="5m", options={"hotset_run_s": 5})
    eventually(lambda: "could not load deepseek-r1:8b" in served.stack.log(), within_s=30, message=served.stack.log)
    others = served.client.submit(LIGHT, "meanwhile")
    assert others.result(timeout=60)
    eventually(lambda: gone.status is State.EXPIRED, within_s=30, message=served.stack.log)
    served.kill()
    served.serve()
    assert waits.result(timeout=PATIENCE * 60)
    assert (waits.view.attempt, waits.view.failures) == (1, 0)
    show(fault="lost a model", agree_s=round(served.agree_s(), 2))


def test_models_that_somebody_else_evicts_are_missed_at_once(served: Served) -> None:
    served.client.submit(LIGHT, "loaded").result(timeout=60)
    assert "tinyllama" in served.loaded()
    body = {"model": "tinyllama", "keep_alive": 0, "stream": False}
    httpx.post(f"{served.address}/api/generate", json=body, trust_env=False).raise_for_status()
    show(fault="evicted by another client", agree_s=round(served.agree_s(), 2))
    job = served.client.submit(LIGHT, "again")
    assert job.result(timeout=60) and job.view.failures == 0


@pytest.mark.parametrize("when", ["running", "loading"])
def test_the_whole_server_dies(served: Served, when: str) -> None:
    client = served.client
    agent = LIGHT if when == "running" else COMPLEX
    client.submit(LIGHT, "warm").result(timeout=60)
    jobs = [client.submit(agent, f"{i}", options={"hotset_run_s": 100}, max_retries=20) for i in range(4)]
    if when == "running":
        eventually(lambda: jobs[0].status is State.RUNNING, within_s=30, message=served.stack.log)
    else:
        eventually(lambda: f"load {'deepseek-r1:8b'}" in served.stack.log(), within_s=30, message=served.stack.log)
    served.kill()
    with redis.Redis.from_url(served.stack.env["HOTSET_BROKER_URL"], decode_responses=True) as connection:
        board = Board(connection)
        began = time.monotonic()
        eventually(lambda: not served.believed(board), within_s=AGREE_S, message=served.stack.log)
        missed_s = time.monotonic() - began
    served.serve()
    for job in jobs:
        job.result(timeout=PATIENCE * 90)
    show(fault=f"killed while {when}", agree_s=round(missed_s, 2), failures=[job.view.failures for job in jobs])
    served.agree_s()


def test_every_job_is_accounted_for(served: Served) -> None:
    assert [worker.poll() for worker in served.stack.workers] == [None]
    print(json.dumps(conserved(served.stack.env["HOTSET_DATABASE_URL"])))
