"""Time limits hold though the network, or the model server behind it, does its worst."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

import pytest

from hotset.errors import GenerationFailed, HotsetError, JobFailed
from hotset.jobs import Attempt, NewJob
from hotset.models import OllamaServer, Prompt
from hotset.store import JobStore, make_engine
from hotset_worker.health import Examined, Health, Probed, Silent
from hotset_worker.runs import ActiveRuns
from hotset_worker.watchdog import Watchdog
from stack import Stack

LIGHT = "log-aggregator-loki"
NOW = datetime.now(UTC)
ATTEMPT = Attempt(
    id=UUID(int=1),
    number=1,
    agent=LIGHT,
    queue="tinyllama",
    tenant="default",
    prompt="x",
    options={},
    run_timeout_s=None,
    max_retries=None,
    failures=0,
    crashes=0,
    arrived_at=NOW,
    deadline_at=NOW,
    reply_to=None,
    stream=False,
)


def swallow(connection: socket.socket) -> None:
    """Half-open: the peer takes everything, and is gone."""
    while connection.recv(65536):
        pass


def drip(connection: socket.socket) -> None:
    """The connection is busy and says nothing: something arrives always before any limit between two reads."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n")
    while True:
        connection.sendall(b"\n")
        time.sleep(0.05)


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def main() -> None:
            try:
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=one, args=(connection,), daemon=True).start()
            except OSError:
                return

        def one(connection: socket.socket) -> None:
            with connection:
                try:
                    serve(connection)
                except OSError:
                    return

        threading.Thread(target=main, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("serve", [swallow, drip], ids=["half-open", "drips"])
def test_a_call_whose_time_is_over_frees_its_thread(serve: Callable[[socket.socket], None]) -> None:
    runs = ActiveRuns()
    watchdog = Watchdog(runs)
    watchdog.start()
    with listening(serve) as address, OllamaServer(address) as server, runs.active(ATTEMPT, "claim") as run:
        began = time.monotonic()
        generation = server.generate(Prompt("tinyllama", "x"), first_token_timeout_s=60, stall_timeout_s=60)
        run.attach(generation)
        run.waits(0.5)
        with pytest.raises(HotsetError):
            list(generation)
        assert 0.4 < time.monotonic() - began < 15 and run.ended == "hung"
    watchdog.stop()


def test_a_run_that_gets_tokens_is_left_alone() -> None:
    runs = ActiveRuns()
    watchdog = Watchdog(runs)
    with runs.active(ATTEMPT, "claim") as run:
        run.model = "m"
        watchdog.look(1e12)
        run.waits(5.0)
        began = time.monotonic()
        watchdog.look(began + 4.0)
        assert run.ended is None and not runs.spoke_since("m", 0.0)
        run.spoke(5.0)
        watchdog.look(began + 4.9)
        assert run.ended is None and runs.spoke_since("m", began) and not runs.spoke_since("other", began)
        watchdog.look(time.monotonic() + 6.0)
        assert run.ended == "hung"


def test_a_queue_timeout_is_exact_at_the_claim(database: str) -> None:
    """Between the timeout and the upkeep's next look nobody gets the job."""
    engine = make_engine(database, application="test")
    store = JobStore(engine)
    job = NewJob(id=UUID(int=7), agent=LIGHT, queue="tinyllama", prompt="x", queue_timeout_s=0.2)
    store.accept([job], actor="t")
    time.sleep(0.25)
    assert store.claim(job.id, worker="w", lease_s=30) is None
    engine.dispose()


def test_a_run_timeout_ends_a_run_without_a_word_of_the_server(stack: Stack) -> None:
    stack.fleet().worker()
    client = stack.client()
    client.submit(LIGHT, "warm").result(timeout=120)
    job = client.submit(LIGHT, "x", run_timeout=80, options={"hotset_fault": "hang"})
    with pytest.raises(JobFailed, match="run_timeout"):
        job.result(timeout=120)
    run_s = job.view.run_s
    assert run_s is not None and run_s >= 80 and job.view.error_kind == "RunTimeout"
    assert client.submit(LIGHT, "the slot is free").result(timeout=120)


class World:
    """A health with a model server of our making. Rounds are waited for; nothing else takes time."""

    def __init__(self, restart: str | None = None) -> None:
        self.dead: set[str] = set()
        self.spoke = False
        self.events: list[Probed | Examined] = []
        self.over = threading.Event()
        self.probes: list[str] = []
        self.health = Health("g", probe=self.probe, spoke_since=lambda *_: self.spoke, tell=self.tell, restart=restart)

    def probe(self, model: str) -> None:
        self.probes.append(model)
        if model in self.dead:
            raise GenerationFailed(f"{model} gave no first token for 1 s.")

    def tell(self, event: Probed | Examined) -> None:
        self.events.append(event)
        if isinstance(event, Examined):
            self.over.set()

    def mend(self, residents: list[str], *, now: float, busy: int = 0) -> bool:
        """One step of the owner; whether a round was made."""
        self.over.clear()
        self.health.mend(residents, busy, now)
        if not self.health._examining:
            return False
        assert self.over.wait(20)
        for event in self.events:
            if isinstance(event, Probed):
                self.health.probed(event, now)
            else:
                self.health.examined()
        self.events.clear()
        return True


def test_only_silence_makes_the_owner_ask_and_each_resident_is_asked() -> None:
    world = World()
    world.health.resident(["a", "b"])
    assert not world.mend(["a", "b"], now=0) and world.probes == []
    world.dead = {"a"}
    world.health.silent(Silent("a"))
    assert world.mend(["a", "b"], now=0) and world.probes == ["a", "b"]
    assert world.health.rests("a") and not world.health.rests("b")
    assert not world.health.stands_still(["a", "b"]) and world.health.stands_still(["a"])
    assert "no first token" in world.health.unhealthy["a"]
    # Asked again with back-off, well when it answers.
    assert not world.mend(["a", "b"], now=1.9) and world.mend(["a", "b"], now=2.1)
    assert not world.mend(["a", "b"], now=5.0)
    world.dead = set()
    assert world.mend(["a", "b"], now=6.2) and not world.health.unhealthy
    assert world.probes == ["a", "b", "a", "a"]


def test_a_busy_model_and_one_that_refuses_are_not_sick() -> None:
    world = World()
    world.dead, world.spoke = {"a"}, True
    world.health.silent(Silent("a"))
    assert world.mend(["a"], now=0) and not world.health.unhealthy

    def busy(_: str) -> None:
        raise GenerationFailed("The model server refused a (503): busy.", status=503)

    health = Health("g", probe=busy, spoke_since=lambda *_: False, tell=world.tell, restart=None)
    health.silent(Silent("a"))
    world.over.clear()
    health.mend(["a"], 0, 0.0)
    assert world.over.wait(20) and world.events[0].error is None  # type: ignore[union-attr]


def test_one_that_is_gone_gets_another_chance() -> None:
    world = World()
    world.dead = {"a"}
    world.health.silent(Silent("a"))
    world.mend(["a"], now=0)
    world.health.resident(["b"])
    assert not world.health.unhealthy and not world.health.rests("a")


def test_a_restart_waits_until_the_gpu_is_idle_and_is_not_repeated_without_a_probe(stack: Stack) -> None:
    mark = stack.folder / "restarts"
    world = World(restart=f"sh -c 'echo once >> {mark}'")
    world.dead = {"a"}
    world.health.silent(Silent("a"))
    world.mend(["a", "b"], now=0)
    assert not world.mend(["a", "b"], now=3.0, busy=1) and world.health.stands_still(["a", "b"])
    assert world.mend(["a", "b"], now=4.0, busy=0) and mark.read_text().split() == ["once"]
    assert not world.health.stands_still(["a", "b"])
    # Still there and still dumb: it is asked before its server is restarted again, after a longer pause.
    assert not world.mend(["a", "b"], now=5.0)
    assert world.mend(["a", "b"], now=6.1) and world.probes == ["a", "b", "a"]
    assert not world.mend(["a", "b"], now=9.0) and world.mend(["a", "b"], now=10.2)
    assert mark.read_text().split() == ["once", "once"]
