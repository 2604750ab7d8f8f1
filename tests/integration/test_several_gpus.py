"""Several live GPUs without a leader: no herding, and a GPU that dies or joins is noticed within seconds."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator

import pytest
import redis

from hotset import State
from hotset.broker import Board
from stack import Stack, eventually

LIGHT, BALANCED, COMPLEX = "log-aggregator-loki", "senior-backend-developer", "system-architect"
TINY, QWEN, DEEPSEEK = "tinyllama", "qwen2.5-coder:7b", "deepseek-r1:8b"
#: An entry lives 5 s; beyond that a machine with two busy cores needs some time to notice.
NOTICED_S = 8.0


class Fleet:
    """Three simulated GPUs and what their own traces say; workers as the test starts them."""

    def __init__(self, stack: Stack, client: redis.Redis) -> None:
        self.stack = stack
        self.board = Board(client)
        self.client = stack.client()
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *gpus: str) -> None:
        for gpu in gpus:
            self.workers[gpu] = self.stack.worker(gpu)
        eventually(lambda: set(gpus) <= set(self.board.read()), within_s=30, message=self.stack.log)

    def loads(self, gpu: str | None = None) -> Counter[str]:
        """Model -> loads, as the model servers have seen them."""
        return Counter(e["model"] for e in self.events(gpu) if e["event"] == "load")

    def events(self, gpu: str | None = None) -> Iterator[dict]:
        for name in [gpu] if gpu else ["gpu0", "gpu1", "gpu2"]:
            if (path := self.stack.trace(name)).exists():
                yield from (json.loads(line) for line in path.read_text().splitlines())

    def holders(self, model: str) -> list[str]:
        return [name for name, state in self.board.read().items() if model in state.residents]


@pytest.fixture
def fleet(stack: Stack) -> Iterator[Fleet]:
    stack.env |= {"HOTSET_SCALE": "0.02", "HOTSET_LEASE_S": "1.5", "HOTSET_HEARTBEAT_S": "0.4"}
    stack.fleet(3)
    with redis.Redis.from_url(stack.env["HOTSET_BROKER_URL"], decode_responses=True) as client:
        yield Fleet(stack, client)


def of(agent: str, number: int, run_s: float) -> list[dict]:
    return [{"agent": agent, "prompt": f"{agent} {i}", "options": {"hotset_run_s": run_s}} for i in range(number)]


def test_no_herding_and_gpus_that_die_and_join(fleet: Fleet) -> None:
    fleet.start("gpu0", "gpu1", "gpu2")

    # All are idle and see the same jobs in the same moment: one GPU loads for each, the others leave it to that one.
    # A job of each model: of two, one GPU may have claimed the second while others have seen that its slots are taken,
    # and not yet that nothing waits; one of them then loads for nobody, now and then on a very busy machine.
    jobs = fleet.client.submit_many(of(BALANCED, 1, 8) + of(COMPLEX, 1, 20))
    for job in jobs:
        job.result(timeout=120)
    assert fleet.loads() == {QWEN: 1, DEEPSEEK: 1}
    assert fleet.holders(QWEN) != fleet.holders(DEEPSEEK)
    # A flood is for all of them, and one rare job among it for one.
    jobs += fleet.client.submit_many(of(LIGHT, 60, 6) + of(COMPLEX, 1, 20))
    for job in jobs:
        job.result(timeout=120)
    loads = fleet.loads()
    assert loads[DEEPSEEK] <= 2 and loads[QWEN] == 1, f"rare models were spread: {loads}"
    assert 2 <= loads[TINY] <= 4, f"the flood's model, on each GPU once, and once more where it had to go: {loads}"
    assert all(job.view.attempt == 1 for job in jobs)

    # The GPU that alone holds a model dies while it runs a job on it. The others know by then that it has free slots:
    # what a GPU says of itself, and what the others have read of it, is a moment old; who took it for full would load
    # the model as well.
    eventually(lambda: not any(state.busy for state in fleet.board.read().values()), within_s=10)
    time.sleep(1.0)
    running = fleet.client.submit(BALANCED, "cut off", options={"hotset_run_s": 50})
    eventually(lambda: running.status is State.RUNNING, within_s=10)
    dead = str(running.view.worker).partition("@")[0]
    alive = {"gpu0", "gpu1", "gpu2"} - {dead}
    before = sum(fleet.loads(gpu)[QWEN] for gpu in alive)
    fleet.stack.kill(fleet.workers[dead])
    jobs = fleet.client.submit_many(of(LIGHT, 30, 6) + of(BALANCED, 2, 10))
    eventually(lambda: set(fleet.board.read()) == alive, within_s=NOTICED_S)
    for job in [running, *jobs]:
        job.result(timeout=120)
    assert sum(fleet.loads(gpu)[QWEN] for gpu in alive) > before, "the dead GPU's model counted on as if it were there"
    assert running.view.attempt == 2 and running.view.crashes == 1
    assert all(str(job.view.worker).partition("@")[0] in alive for job in jobs)

    # A GPU joins while the others are busy: it takes work, and nobody tells it to.
    known = fleet.loads(dead)[TINY]
    jobs = fleet.client.submit_many(of(LIGHT, 40, 6))
    fleet.start(dead)
    jobs = fleet.client.submit_many(of(LIGHT, 60, 6))
    for job in jobs:
        job.result(timeout=120)
    joined = fleet.board.read()[dead].worker
    assert sum(job.view.worker == joined for job in jobs) > 10, Counter(job.view.worker for job in jobs)
    assert fleet.loads(dead)[TINY] <= known + 1


def test_of_two_workers_of_one_gpu_the_second_waits_until_the_first_is_gone(fleet: Fleet) -> None:
    two = [fleet.stack.worker("gpu0"), fleet.stack.worker("gpu0")]
    eventually(lambda: "is served by" in fleet.stack.log(), within_s=30)
    first = fleet.board.read()["gpu0"].worker
    jobs = fleet.client.submit_many(of(LIGHT, 20, 2))
    for job in jobs:
        job.result(timeout=120)
    assert {job.view.worker for job in jobs} == {first}
    assert fleet.board.read()["gpu0"].worker == first

    fleet.stack.kill(next(process for process in two if f":{process.pid}-" in first))
    # Much sooner than the entry's time would pass: who was killed listens no more.
    eventually(lambda: fleet.board.read()["gpu0"].worker != first, within_s=3, message=fleet.stack.log)
    job = fleet.client.submit(LIGHT, "for the second")
    assert job.result(timeout=120)
    assert job.view.worker == fleet.board.read()["gpu0"].worker != first
