"""The servers of the contract suite, and the mark that says which points of Ollama's behaviour a test shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ollama_bench import Make, benches
from ollama_server import OLLAMA, Server, contract_server


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ollama(point, ...): the points of docs/model-server.md that the test shows")


@pytest.fixture(params=["simulated", "real"] if OLLAMA else ["simulated"], scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    yield from contract_server(request.param)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Make]:
    """Makes a server of our own."""
    yield from benches(tmp_path)
