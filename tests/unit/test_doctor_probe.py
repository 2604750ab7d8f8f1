"""Probes against a served GPU: what they find out, and that they leave it as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotset.errors import GenerationFailed, ModelServerUnavailable
from hotset.fleet_file import classic_fleet
from hotset.models import OllamaServer, Prompt
from hotset.models.probe import Probe
from hotset.modelserver.serve import serving

MODEL = "tinyllama"
OURS = {"num_ctx": 4096}
LONG = Prompt(MODEL, "Count.", options={**OURS, "hotset_run_s": 6000})
SHORT = Prompt(MODEL, "Say OK.", options={**OURS, "num_predict": 4})


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace.jsonl"


@pytest.fixture
def probe(request: pytest.FixtureRequest, trace: Path) -> Iterator[Probe]:
    how = {"num_parallel": getattr(request, "param", 2)}
    with serving(classic_fleet(), "gpu0", scale=0.01, log=trace, **how) as url, Probe(url, answer_s=5) as asked:
        yield asked


def test_it_says_what_the_server_is_and_holds(probe: Probe) -> None:
    server = probe.server()
    assert server.simulated and server.scale == 0.01 and MODEL in server.models
    assert probe.held() == ()
    spoken = probe.speak(SHORT, within_s=10)
    assert 1 <= spoken.usage.output_tokens <= 4 and spoken.first_token_s > 0
    (row,) = probe.held()
    assert (row.model, row.context, row.size_mb) == (MODEL, 4096, 800) and row.expires_at is not None


@pytest.mark.parametrize(("probe", "wanted", "found"), [(3, 3, 3), (2, 3, 2)], indirect=["probe"])
def test_how_many_run_at_once(probe: Probe, wanted: int, found: int) -> None:
    seen = probe.at_once(LONG, wanted, within_s=2.5)
    assert (seen.streams, seen.sure) == (found, True)


@pytest.mark.parametrize("probe", [1], indirect=True)
def test_short_answers_are_no_proof(probe: Probe) -> None:
    seen = probe.at_once(SHORT, 2, within_s=5)
    assert (seen.streams, seen.sure) == (1, False)


def test_a_reload_is_seen(probe: Probe, trace: Path) -> None:
    assert probe.reloads(SHORT, OURS, within_s=20) is False
    assert sum(json.loads(line)["event"] == "load" for line in trace.read_text().splitlines()) == 1
    # Absent is not the same as the default (point 9 of what Ollama does).
    assert probe.reloads(Prompt(MODEL, "Say OK."), OURS, within_s=20) is True


def test_a_models_time_to_live_stays_as_it_was(probe: Probe) -> None:
    server = OllamaServer(probe.address)
    server.load(MODEL, OURS, timeout_s=10)
    probe.speak(SHORT, within_s=10)
    probe.at_once(LONG, 2, within_s=5)
    (row,) = probe.held()
    assert row.expires_at == float("inf")
    server.close()


@pytest.mark.parametrize("fault", ["hang", "stall"])
def test_it_ends_although_no_answer_does(probe: Probe, fault: str) -> None:
    mute = Prompt(MODEL, "x", options={**OURS, "hotset_fault": fault})
    with pytest.raises(GenerationFailed):
        probe.speak(mute, within_s=0.5)


def test_nobody_there() -> None:
    with Probe("http://127.0.0.1:1", answer_s=1) as probe, pytest.raises(ModelServerUnavailable):
        probe.server()
