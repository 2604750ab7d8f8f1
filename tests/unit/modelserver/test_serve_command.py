"""`hotset serve` from the command line: models without a fleet file, faults, and errors that say what to do."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hotset.cli.serve import _quick, _quick_fleet, _shares
from hotset.errors import UsageError

SERVE = [sys.executable, "-m", "hotset.cli", "serve", "--simulate", "--port", "0", "--scale", "0", "--json"]


@contextlib.contextmanager
def serve(*words: str) -> Iterator[httpx.Client]:
    with subprocess.Popen([*SERVE, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            assert said["simulated"] is True
            with httpx.Client(base_url=said["url"], timeout=20.0, trust_env=False, verify=False) as http:
                yield http
        finally:
            process.terminate()


def test_models_faults_and_a_profile(tmp_path: Path) -> None:
    profile, faults = tmp_path / "profile.yaml", tmp_path / "faults.yaml"
    profile.write_text("models: {a: {answer_tokens: 7}, c: {size_mb: 100}}")
    faults.write_text("seed: 3\nfaults: {load_crash@b: 1}")
    words = ["--models", "a=5GB", "--models", "b=10MB", "--profile", str(profile), "--faults", str(faults)]
    with serve(*words, "--fault", "repeat@c") as http:

        def ask(model: str) -> httpx.Response:
            return http.post("/api/generate", json={"model": model, "prompt": "x", "stream": False})

        assert {row["name"] for row in http.get("/api/tags").json()["models"]} == {"a:latest", "b:latest", "c:latest"}
        assert ask("a").json()["eval_count"] == 7, "the GPU is as large as its largest model"
        assert ask("b").status_code == 500
        assert ask("c").json()["done"] is False


def test_the_gpu_for_models_of_the_command_line() -> None:
    assert _quick_fleet(_quick(["a=100MB"])).gpus[0].vram_mb == 3686
    assert _quick_fleet(_quick(["a=100MB", "b=8GB"])).gpus[0].vram_mb == 8192


def test_faults_of_the_command_line_go_before_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("seed: 3\nfaults: {stall: 1, cut: 0.5}")
    assert _shares(["stall:1/9", "crash@m", "hang@qwen:7b:0.5"], file) == (
        {"stall": "1/9", "cut": 0.5, "crash@m": "1", "hang@qwen:7b": "0.5"},
        3,
    )


@pytest.mark.parametrize(
    ("models", "faults", "says"),
    [
        (["llama"], [], "Write NAME=SIZE"),
        (["a=1MB", "a=2MB"], [], "names a model twice"),
        ([], ["stal:1"], "Did you mean 'stall'"),
        ([], ["stall:often"], "1/50 for each 50th"),
        ([], ["crash@qwen:7b"], "'7b' is no share"),
    ],
)
def test_mistakes_are_told_with_what_to_write(models: list[str], faults: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        _quick(models)
        _shares(faults, None)


def test_a_mistake_ends_the_command_with_2() -> None:
    ended = subprocess.run([*SERVE, "--faults", "/nowhere.yaml"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "cannot be read" in ended.stderr and "Traceback" not in ended.stderr
