"""A tenant and one of its scopes, on a real Postgres with pgvector, a real cache and the real encoder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import Addresses, has_pgvector, no_service
from hotset import Client
from hotset.client.memory import Scope
from hotset.settings import Settings, load_settings


@pytest.fixture
def settings(servers: Addresses, database: str, cache_url: str, broker_url: str) -> Settings:
    if not has_pgvector(servers):
        no_service("this Postgres has no pgvector")
    return load_settings({}, database_url=database, cache_url=cache_url, broker_url=broker_url)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with Client(settings=settings, tenant="acme") as made:
        yield made


@pytest.fixture
def memory(client: Client) -> Scope:
    return client.memory("project:shop")
