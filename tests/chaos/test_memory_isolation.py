"""Ten thousand statements and more of intruders: nothing of others is shown, and nothing of theirs is changed."""

from __future__ import annotations

import json
import os

from sqlalchemy import Engine

import memory_keys
from hotset import Client
from hotset.memory import As
from hotset.settings import load_settings
from memory_attacks import MARK, foreign_rows
from memory_summaries import claimed, finish, tell

ATTACKS = int(os.environ.get("HOTSET_TEST_MEMORY_ATTACKS", "12000"))


def test_ten_thousand_statements(engine: Engine, database: str, cache_url: str, broker_url: str) -> None:
    settings = load_settings({}, database_url=database, cache_url=cache_url, broker_url=broker_url)
    with Client(settings=settings, tenant="acme") as client:
        for i in range(40):
            client.memory(f"project:{MARK}").remember(f"The code of the {MARK} safe {i} is {i}.", tags=(MARK,))
            if i == 20:
                client.demote()
        tell(client.memory(f"project:{MARK}"), 0, 5, f"{MARK} ")
        tell(client.memory(f"project:{MARK}"), 1, 5, f"{MARK} ")
        client.summarise()
        finish(client, claimed(client)[:1])
        client.summarise()
        client.extract_keys()
        memory_keys.finish(client, memory_keys.claimed(client), lambda number, _: f"{number} | {MARK} | {MARK}")
        client.extract_keys()
        client.handoff(from_=f"{MARK}-a", to=f"{MARK}-b", scope=f"project:{MARK}", summary=f"{MARK} summary")
        before = client.memory_stats()
        seen = foreign_rows(engine, (As("intruder"), As("acme", agent="stranger"), As("acme' OR true --")), ATTACKS)
        assert client.memory_stats() == before
    print(json.dumps({"statements": ATTACKS, "foreign": len(seen)}))
    assert seen == []
