"""The doctor's judgement, without servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hotset import __version__
from hotset.broker import GpuState
from hotset.cli.doctor.clocks import Reading, compare
from hotset.cli.doctor.examine import examine
from hotset.cli.doctor.finding import Family, Finding, failed, ok
from hotset.cli.doctor.fleet import sets_that_fit
from hotset.cli.doctor.others import compare_looks
from hotset.cli.doctor.secrets import without_secrets
from hotset.cli.doctor.workers import duplicates, worker_faults
from hotset.errors import StoreUnavailable
from hotset.fleet import Gpu, Model
from hotset.models.probe import Held, Server, expiry, most_at_once

FOREVER = float("inf")
GPU = Gpu("gpu0", 3686)
MODELS = {"tinyllama": Model("tinyllama", 800, 2)}
STATE = GpuState("gpu0", "gpu0@host:1", 3686, 2, 1.0, 0, simulated=True, scale=0.05, version=__version__)
SERVER = Server("0.33", True, ("tinyllama",), 0.05)


@pytest.mark.parametrize(
    ("postgres", "broker", "status"),
    [
        (Reading(0.1, 0.01), Reading(-0.1, 0.01), "ok"),
        (Reading(2.0, 0.01), Reading(0.0, 0.01), "warning"),
        (Reading(40.0, 0.01), Reading(0.0, 0.01), "failed"),
        # Each half as far off, in opposite directions: what counts is between the two.
        (Reading(-3.0, 0.01), Reading(3.0, 0.01), "failed"),
        # A slow answer proves nothing.
        (Reading(40.0, 45.0), Reading(0.0, 0.01), "ok"),
    ],
)
def test_clocks(postgres: Reading, broker: Reading, status: str) -> None:
    found = compare({"this machine": Reading(0, 0), "Postgres": postgres, "the broker": broker})
    assert found.status == status
    if found.status == "failed":
        ahead = "Postgres" if postgres.ahead_s > broker.ahead_s else "the broker"
        assert found.found.startswith(ahead)


def test_the_largest_sets_that_fit() -> None:
    sizes = {"tinyllama": 800.0, "qwen": 2500.0, "deepseek": 3200.0}
    assert sets_that_fit(sizes, 3686) == [("tinyllama", "qwen"), ("deepseek",)]
    assert sets_that_fit(sizes, 8000) == [("tinyllama", "qwen", "deepseek")]
    assert sets_that_fit(sizes, 700) == []


def test_what_hangs_or_breaks_does_not_hang_the_others() -> None:
    release = threading.Event()

    def well() -> Iterator[Finding]:
        yield ok("a", "fine")

    def stuck() -> Iterator[Finding]:
        yield ok("b", "first")
        release.wait(30)

    def away() -> Iterator[Finding]:
        raise StoreUnavailable("It is away.", remedy="Start it.")
        yield

    def broken() -> Iterator[Finding]:
        yield failed("d", "bad", "mend it")
        raise ZeroDivisionError("oops")

    looks = {"a": well, "b": stuck, "c": away, "d": broken}
    seen: list[list[str]] = []
    began = time.monotonic()
    found = examine([Family(name, look, 0.4, f"see {name}") for name, look in looks.items()], seen.append)
    assert time.monotonic() - began < 10  # and not 30
    release.set()
    assert [(f.name, f.status) for f in found] == [
        ("a", "ok"),
        ("b", "ok"),
        ("b", "failed"),
        ("c", "failed"),
        ("d", "failed"),
        ("d", "failed"),
    ]
    assert found[2].remedy == "see b" and found[3].remedy == "Start it." and "oops" in found[5].found
    assert "b" in seen[-1]


def test_secrets_are_taken_out_wherever_they_stand() -> None:
    urls = ["postgresql://ann:hun%2Fter@db/x", "redis://:p@ss!word@r:1/0", "redis://r/0?password=swordfish", "::["]
    texts = ["at redis://:p@ss!word@r:1/0: refused", "password hun/ter or hun%2Fter", "swordfish"]
    cleaned = without_secrets([failed("x", text, text) for text in texts], urls)
    shown = " ".join(f.found + f.remedy for f in cleaned)
    assert not any(secret in shown for secret in ("ss!word", "hun/ter", "hun%2Fter", "swordfish"))
    assert "at redis://***@r:1/0: refused" in shown


def held(model: str, expires_at: float | None) -> Held:
    return Held(model, 800, 800, 4096, expires_at)


@pytest.mark.parametrize(
    ("before", "after", "pinned", "idle", "sign"),
    [
        ([held("tinyllama", FOREVER)], [held("tinyllama", FOREVER)], True, True, ""),
        ([held("tinyllama", 100)], [held("tinyllama", 100.01)], False, True, ""),
        ([held("tinyllama", 100)], [held("tinyllama", 101)], False, True, "used tinyllama just now"),
        ([held("tinyllama", 100)], [held("tinyllama", 101)], False, False, ""),
        ([held("tinyllama", FOREVER)], [held("tinyllama", 300)], True, True, "set the keep_alive"),
        ([held("tinyllama", FOREVER)], [], True, True, "came or went"),
        ([], [held("llama3", 100)], False, False, "llama3 (800 MiB) loaded"),
    ],
)
def test_signs_of_another_client(before: list[Held], after: list[Held], pinned: bool, idle: bool, sign: str) -> None:
    found = compare_looks(GPU, MODELS, before, after, pinned=pinned, idle=idle)
    assert found.status == ("warning" if sign else "ok") and sign in found.found


@pytest.mark.parametrize(
    ("state", "server", "scale", "words"),
    [
        (STATE, SERVER, 0.05, ""),
        (STATE, None, 0.05, ""),
        (replace(STATE, scale=None, version=""), SERVER, 0.05, ""),
        (replace(STATE, slots=4), SERVER, 0.05, "4 slots"),
        (replace(STATE, version="0.0.1"), SERVER, 0.05, "0.0.1"),
        (STATE, SERVER, 1.0, "ours 1"),
        (STATE, replace(SERVER, scale=0.5), 0.05, "model server 0.5"),
        # It met no server, or another one, when it started: its results would pass for real ones.
        (replace(STATE, simulated=False), SERVER, 0.05, "marks its results as real"),
    ],
)
def test_workers_that_differ(state: GpuState, server: Server | None, scale: float, words: str) -> None:
    faults = list(worker_faults(GPU, state, server, scale))
    assert bool(faults) == bool(words) and all(words in f.found and f.remedy for f in faults)


def test_two_workers_of_one_gpu() -> None:
    names = ["hotset-worker gpu0@a:1", "hotset-worker gpu0@a:1", "hotset-worker gpu0@b:7", "hotset-worker gpu1@a:2"]
    assert duplicates([*names, "hotset-client", "hotset-worker nonsense"]) == {"gpu0": ["gpu0@a:1", "gpu0@b:7"]}


def test_streams_at_once() -> None:
    assert most_at_once([]) == 0
    assert most_at_once([(1.0, 1.0)]) == 1
    assert most_at_once([(0, 1), (1, 2), (2, 3)]) == 1
    assert most_at_once([(0, 2), (1, 3), (1.5, 1.7), (5, 9)]) == 3


def test_expiry() -> None:
    assert expiry("2026-01-01T00:00:00.123456789Z", 1767225600.0) == pytest.approx(1767225600.123, abs=0.01)
    assert expiry("2318-01-01T00:00:00Z", 1767225600.0) == FOREVER
    assert expiry("", 0) is None and expiry("2026-01-01T00:00:00", 0) is None
