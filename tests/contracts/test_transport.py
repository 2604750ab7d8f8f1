"""What the transport promises to any Celery worker: on Valkey and on Redis, with threads and with forked processes.

Nothing is fetched without a grant; what is fetched is held until it is acknowledged; what its worker's death leaves
behind comes back, once. That a job's result is committed once is another matter: Postgres sees to it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from hotset.broker import TASK, Lanes
from hotset.embedded import Valkey
from stack import eventually

QUEUE = "tinyllama"
FOLDER = Path(__file__).parent


class Bench:
    """A broker, workers of one kind of pool, and a plain Celery producer."""

    def __init__(self, url: str, pool: str, folder: Path) -> None:
        self.url, self.pool, self.folder = url, pool, folder
        self.redis = redis.Redis.from_url(url, decode_responses=True)
        self.lanes = Lanes(url)
        self.producer = Celery("elsewhere", broker=self.url, backend=None, set_as_current=False)
        self.producer.conf.update(task_default_exchange="", broker_pool_limit=0)  # its own are made for each use
        self._workers: list[subprocess.Popen[bytes]] = []
        self._journal = folder / "journal.jsonl"
        self._journal.touch()

    def worker(self) -> subprocess.Popen[bytes]:
        """Returns when it answers."""
        name = f"w{len(self._workers)}@here"
        command = [sys.executable, "-m", "celery", "-A", "transport_app", "worker", "--pool", self.pool, "-n", name]
        log = (self.folder / f"{self.pool}-{name}.log").open("wb")
        process = subprocess.Popen(
            command,
            cwd=FOLDER,
            env={**os.environ, "HOTSET_TEST_BROKER": self.url, "HOTSET_TEST_JOURNAL": str(self._journal)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self._workers.append(process)
        eventually(lambda: self.ping(name), within_s=60, message=self.log)
        return process

    def at_work(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in self._workers if process.poll() is None]

    def kill(self, process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGKILL) -> None:
        """SIGKILL strikes its whole group; any other signal the worker alone, as a supervisor's would."""
        if how is signal.SIGKILL:
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)
        process.wait(timeout=60)

    def cut_all_connections(self) -> None:
        for kind in ("normal", "pubsub"):
            self.redis.client_kill_filter(_type=kind, skipme=True)

    def close(self) -> None:
        for process in self.at_work():
            self.kill(process)
        self.lanes.close()
        self.redis.close()
        self.producer.close()

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob(f"{self.pool}-*.log")))

    def ping(self, name: str) -> bool:
        return name in (self.producer.control.inspect([name], timeout=5.0, limit=1).ping() or {})

    def send(self, count: int, **kwargs: Any) -> list[str]:
        return [str(self.producer.send_task(TASK, kwargs=kwargs, queue=QUEUE).id) for _ in range(count)]

    def began(self) -> Counter[str]:
        return self._noted("began")

    def ended(self) -> Counter[str]:
        return self._noted("ended")

    def notes(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._journal.read_text().splitlines()]

    def _noted(self, what: str) -> Counter[str]:
        return Counter(note["name"] for note in self.notes() if note["what"] == what)

    def until_ended(self, names: list[str]) -> None:
        eventually(lambda: set(names) <= set(self.ended()), within_s=60, message=self.log)

    def abandoned(self) -> int:
        """How many claims nobody has renewed for a second; they are back in their lanes now."""
        return self.lanes.restore_abandoned(1.0)

    def until_nothing_is_held(self) -> None:
        """Neither waiting nor held by anybody: every message was acknowledged."""
        eventually(lambda: not self.lanes.lengths([QUEUE])[QUEUE], within_s=20, message=self.log)
        eventually(lambda: not self.redis.exists("hs:unacked"), within_s=20, message=self.log)


@pytest.fixture(params=["threads", "prefork"], scope="module")
def bench(
    request: pytest.FixtureRequest, broker_server: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    bench = Bench(broker_server.url, request.param, tmp_path_factory.mktemp("transport"))
    bench.redis.flushall()
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def at_work(bench: Bench) -> Bench:
    bench.worker()
    return bench


def test_each_message_runs_once_and_is_acknowledged(at_work: Bench) -> None:
    sent = at_work.send(30)
    at_work.until_ended(sent)
    at_work.until_nothing_is_held()
    assert [at_work.began()[name] for name in sent] == [1] * 30
    (worker,) = at_work.at_work()
    assert (worker.pid in {note["pid"] for note in at_work.notes()}) == (at_work.pool == "threads")


def test_without_a_grant_nothing_is_fetched(at_work: Bench) -> None:
    at_work.redis.set("test:closed", 1)
    sent = at_work.send(5)
    eventually(lambda: at_work.lanes.lengths([QUEUE])[QUEUE] == 5, within_s=20, message=at_work.log)
    assert at_work.ping("w0@here"), "its loop goes round"
    assert not at_work.began().keys() & set(sent)
    at_work.redis.delete("test:closed")
    at_work.until_ended(sent)


def test_what_is_given_back_comes_again_and_what_is_refused_or_fails_does_not(at_work: Bench) -> None:
    again, refused, failed = (at_work.send(1, how=how)[0] for how in ("requeue", "refuse", "fail"))
    last = at_work.send(1)
    at_work.until_ended([again, *last])
    at_work.until_nothing_is_held()
    began, ended = at_work.began(), at_work.ended()
    assert (began[again], began[refused], began[failed]) == (2, 1, 1)
    assert ended[again] == 1 and not ended[refused] and not ended[failed]


def test_control_commands_are_answered_while_every_slot_is_taken(at_work: Bench) -> None:
    sent = at_work.send(2, seconds=4.0)
    eventually(lambda: all(at_work.began()[name] for name in sent), within_s=20, message=at_work.log)
    assert at_work.ping("w0@here")
    assert not at_work.ended().keys() & set(sent), "they ran meanwhile"
    at_work.until_ended(sent)


def test_what_runs_while_the_connections_are_cut_goes_on(at_work: Bench) -> None:
    """A claim whose reply was lost comes back as a dead worker's does. A message runs twice only where the broker could
    not be told of its end, which the worker says, or where Celery's pool of processes dropped it (see `Owner`)."""
    sent = at_work.send(6, seconds=0.7)

    def goes_on(before: int) -> bool:
        at_work.lanes.restore_abandoned(3.0)
        return sum(at_work.began().values()) > before or set(sent) <= set(at_work.ended())

    for _ in range(3):
        before = sum(at_work.began().values())
        at_work.cut_all_connections()
        eventually(lambda before=before: goes_on(before), within_s=60, message=at_work.log)
    eventually(lambda: goes_on(sys.maxsize), within_s=60, message=at_work.log)

    def settled() -> bool:
        at_work.lanes.restore_abandoned(3.0)
        return not at_work.redis.exists("hs:unacked") and not at_work.lanes.lengths([QUEUE])[QUEUE]

    eventually(settled, within_s=20, message=at_work.log)
    twice = sum(at_work.began()[name] - 1 for name in sent)
    log = at_work.log()
    assert twice <= log.count("the broker could not be told") + log.count("dropped by the pool")
    assert at_work.pool == "prefork" or "dropped by the pool" not in log


def test_what_a_dead_worker_held_comes_back_and_nothing_else(bench: Bench) -> None:
    bench.worker()  # beside that of the other tests
    bench.redis.set("test:closed", 1)
    sent = bench.send(6, seconds=1.0)
    eventually(lambda: bench.lanes.lengths([QUEUE])[QUEUE] == 6, within_s=20, message=bench.log)
    bench.redis.delete("test:closed")
    eventually(lambda: sum(bench.began()[name] for name in sent) >= 2, within_s=20, message=bench.log)
    for process in bench.at_work():
        bench.kill(process)
    begun = {name for name in sent if bench.began()[name]}
    done = {name for name in sent if bench.ended()[name]}

    def restored() -> bool:
        bench.abandoned()  # those that were claimed but had not begun come back as well, later perhaps
        return bench.lanes.lengths([QUEUE])[QUEUE] >= len(sent) - len(done)

    eventually(restored, within_s=20)
    assert bench.lanes.lengths([QUEUE])[QUEUE] == len(sent) - len(done) and bench.abandoned() == 0
    bench.worker()
    bench.until_ended(sent)
    bench.until_nothing_is_held()
    assert all(bench.ended()[name] == 1 for name in sent)
    assert {name for name in sent if bench.began()[name] == 2} == begun - done


def test_a_worker_that_is_told_to_stop_finishes_what_it_runs_and_takes_no_more(bench: Bench) -> None:
    (worker,) = bench.at_work()  # the one that took up what the dead one had left
    sent = bench.send(5, seconds=1.5)
    eventually(lambda: sum(bench.began()[name] for name in sent) == 2, within_s=20, message=bench.log)
    bench.kill(worker, signal.SIGTERM)
    begun = {name for name in sent if bench.began()[name]}
    assert begun == {name for name in sent if bench.ended()[name]} and len(begun) < 5
    assert bench.lanes.lengths([QUEUE])[QUEUE] == 5 - len(begun) and bench.abandoned() == 0
