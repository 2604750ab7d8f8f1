"""A hundred kills in the middle of consolidation, demotion and restoring: nothing lost, doubled or damaged."""

from __future__ import annotations

import json
import os

from hotset import Client
from hotset.settings import load_settings
from memory_kills import kill_again_and_again

KILLS = int(os.environ.get("HOTSET_TEST_MEMORY_KILLS", "100"))


def test_a_hundred_kills(database: str, cache_url: str, broker_url: str) -> None:
    settings = load_settings({}, database_url=database, cache_url=cache_url, broker_url=broker_url)
    with Client(settings=settings, tenant="acme") as client:
        found = kill_again_and_again(client, 1_200, KILLS)
    print(json.dumps(found))
    assert found["faults"] == []
