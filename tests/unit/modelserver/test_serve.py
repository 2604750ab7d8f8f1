from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hotset.errors import PortTaken, UsageError
from hotset.fleet import Fleet, Gpu, Model
from hotset.modelserver import create_app, serve, serving

FLEET = Fleet(gpus=(Gpu("gpu0", 1000),), models={"m": Model("m", 800, 1.0)}, queues={})

PROGRAM = """
import sys
from pathlib import Path
from hotset.fleet import Fleet, Gpu, Model
from hotset.modelserver import serve
fleet = Fleet(gpus=(Gpu("gpu0", 1000),), models={"m": Model("m", 800, 1.0)}, queues={})
serve(fleet, "gpu0", port=0, scale=0.01, log=Path(sys.argv[1]), ready=lambda url: print(url, flush=True))
"""


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            serve(FLEET, "gpu0", port=port)
        with pytest.raises(PortTaken), serving(FLEET, "gpu0", port=port):
            pass


def test_a_gpu_that_is_not_in_the_fleet() -> None:
    with pytest.raises(UsageError, match="gpu0"):
        create_app(FLEET, "gpu7")


@pytest.mark.parametrize("wrong", [{"scale": -1.0}, {"scale": float("nan")}, {"admission": "first-come"}])
def test_values_that_make_no_sense(wrong: Any) -> None:
    with pytest.raises(UsageError):
        create_app(FLEET, "gpu0", **wrong)


def test_serving_comes_and_goes() -> None:
    with serving(FLEET, "gpu0", scale=0.0) as url:
        assert httpx.get(url, trust_env=False).text == "Ollama is running"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Killed when the block fails, as Popen would wait for it for ever."""
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_a_process_prints_nothing_and_ends_on_a_signal(tmp_path: Path, signum: int, status: int) -> None:
    trace = tmp_path / "trace.jsonl"
    command = [sys.executable, "-c", PROGRAM, str(trace)]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        body = {"model": "m", "prompt": "hi", "options": {"hotset_run_s": 1e4}}
        with httpx.stream("POST", f"{url}/api/generate", json=body, trust_env=False) as answer:
            lines = answer.iter_lines()  # kept: httpx closes the response of an iterator that is dropped
            next(lines)
            assert len(trace.read_text().splitlines()) == 3, "each line is flushed"
            process.send_signal(signum)
            out, err = process.communicate(timeout=10)
    assert (out, err, process.returncode) == ("", "", status)
    events = [json.loads(line)["event"] for line in trace.read_text().splitlines()]
    assert events == ["load", "loaded", "start", "finish"]
