"""The servers of the contract suite, and the mark that says which points of Ollama's behaviour a test shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from conftest import _server_home, no_service
from hotset.embedded import Valkey
from hotset.errors import BrokerUnavailable
from ollama_bench import Make, benches
from ollama_server import OLLAMA, Server, contract_server
from redis_server import Redis


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ollama(point, ...): the points of docs/model-server.md that the test shows")


@pytest.fixture(params=["simulated", "real"] if OLLAMA else ["simulated"], scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    yield from contract_server(request.param)


@pytest.fixture(params=[Valkey, Redis], ids=["valkey", "redis"], scope="session")
def broker_server(request: pytest.FixtureRequest) -> Iterator[Valkey]:
    """Each server that may be a broker, with the rules that a broker needs."""
    for home in _server_home():
        try:
            server = request.param(home / "broker").start()
        except BrokerUnavailable as error:
            no_service(error)
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def broker_url(broker_server: Valkey) -> str:
    """The address of an empty broker, of each kind in turn."""
    with redis.Redis.from_url(broker_server.url) as client:
        client.flushall()
    return broker_server.url


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Make]:
    """Makes a server of our own."""
    yield from benches(tmp_path)
