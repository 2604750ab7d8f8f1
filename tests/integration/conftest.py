"""One worker for all tests of a module; a module with needs of its own defines these again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

import hotset
from hotset.store import make_engine
from stack import Stack


@pytest.fixture(scope="module")
def served(module_stack: Stack) -> Stack:
    """Each test looks at its own jobs only."""
    module_stack.fleet().worker()
    return module_stack


@pytest.fixture(scope="module")
def client(served: Stack) -> hotset.Client:
    client = served.client()
    assert client.submit("log-aggregator-loki", "the worker is up").result(timeout=120)
    return client


@pytest.fixture(scope="module")
def served_engine(served: Stack) -> Iterator[Engine]:
    """Connections to the database that the worker works on."""
    engine = make_engine(served.env["HOTSET_DATABASE_URL"], application="test")
    yield engine
    engine.dispose()
