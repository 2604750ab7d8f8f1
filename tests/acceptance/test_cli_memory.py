"""`hotset memory`: a day of somebody who lets agents remember, from the shell."""

from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import psycopg

from hotset.store import downgrade
from hotset.store.migrate import MEMORY
from stack import Stack

Hotset = Callable[..., "CompletedProcess[str]"]
SHOP = ("--scope", "project:shop")


def test_a_day_with_what_agents_remember(hotset: Hotset, stack: Stack) -> None:
    url = stack.env["HOTSET_DATABASE_URL"]
    downgrade(url, tables=MEMORY)
    early = hotset("memory", "search", "refund window")
    assert early.returncode == 1 and "hotset memory setup" in early.stderr and "Traceback" not in early.stderr
    checks = {c["name"]: c for c in json.loads(hotset("doctor", "--json", "--timeout", "5").stdout)["checks"]}
    assert checks["database.memory"]["status"] == "skipped"
    assert hotset("migrate").returncode == 0, "which leaves the memory to who wants it"
    assert hotset("memory", "search", "refund window").returncode == 1
    assert json.loads(hotset("memory", "setup", "--json").stdout) == {"set_up": True, "packages_lacking": []}
    assert "is set up" in hotset("memory", "setup").stderr
    checks = {c["name"]: c for c in json.loads(hotset("doctor", "--json", "--timeout", "5").stdout)["checks"]}
    assert checks["database.memory"]["status"] == "ok"

    def said(*words: str) -> Any:
        done = hotset("memory", *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    old = said("remember", "Acme's refund window is 14 days.", *SHOP, "--at", "9d", "--tag", "refunds")["id"]
    new = said("remember", "Acme's refund window is 30 days now.", *SHOP, "--importance", "0.9")["id"]
    found = said("search", "How long is Acme's refund window?", *SHOP)
    assert [(m["id"], m["valid_to"] is None) for m in found] == [(new, True), (old, False)]
    before = said("search", "Acme's refund window?", *SHOP, "--as-of", "2d", "--field", "text", "-k", "1")
    assert before == [{"text": "Acme's refund window is 14 days."}]
    assert [m["id"] for m in said("history", "Acme's refund window", *SHOP)] == [old, new]
    assert [m["id"] for m in said("history", new, *SHOP)] == [old, new]
    assert "30 days now" in hotset("memory", "search", "Acme's refund window?", *SHOP).stdout
    nothing = hotset("memory", "search", "Who won the football match?", *SHOP)
    assert (nothing.returncode, nothing.stdout) == (0, "") and "Nothing relevant" in nothing.stderr

    with stack.client() as client:
        assert client.demote() == 2
        assert client.extract_keys() == 1
    assert "project:shop: 2 keys asked" in hotset("memory", "stats").stdout
    stats = said("stats")
    assert [s["entries"] for s in stats["segments"]] == [2]
    assert "1 segments, 2 texts" in hotset("memory", "stats").stdout
    assert said("restore", "--check") == {"segments": 1, "faults": [], "restored": 0}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE memory_segments SET checksum = '\\x00'")
        damaged = hotset("memory", "restore", "--json")
        assert damaged.returncode == 1 and len(json.loads(damaged.stdout)["faults"]) == 1
        connection.execute("UPDATE memory_segments SET checksum = sha256(body)")
    assert said("restore") == {"segments": 1, "faults": [], "restored": 2}

    assert said("forget", new) == {"forgotten": 1}
    assert said("search", "Acme's refund window?", *SHOP)[0]["valid_to"] is None, "the old one holds again"
    again = hotset("memory", "forget", new)
    assert again.returncode == 1 and "no memory" in again.stderr
    for words in (("forget", "x"), ("search", "x", "--field", "nothing"), ("remember", "x", "--scope", "nowhere")):
        assert hotset("memory", *words).returncode == 2

    erased = json.loads(hotset("erase", "--tenant", "default", "--yes", "--json").stdout)
    assert erased["memories"] == 1 and said("stats") == {"memories": [], "segments": [], "summaries": [], "keys": []}
    actions = [a["action"] for a in json.loads(hotset("audit", "list", "--json").stdout)]
    assert {"memory-forgotten", "memory-demoted", "memory-drill", "memory-restored", "memory-erased"} <= {*actions}
    assert "refund" not in hotset("audit", "list", "--json").stdout


def test_an_agent_is_told_what_is_remembered_and_its_answer_is_kept(hotset: Hotset, stack: Stack) -> None:
    stack.fleet().worker()
    assert hotset("memory", "remember", "Acme's refund window is 30 days.", *SHOP).returncode == 0
    asked = ("log-aggregator-loki", "How long is Acme's refund window?")
    done = hotset("run", *asked, "--recall", "3", "--recall-from", SHOP[1], "--remember", SHOP[1], "--json")
    assert done.returncode == 0, done.stderr
    view = json.loads(done.stdout)
    with psycopg.connect(stack.env["HOTSET_DATABASE_URL"]) as connection:
        (prompt,) = connection.execute("SELECT prompt FROM jobs WHERE id = %s", (view["id"],)).fetchone() or ("",)
        rows = connection.execute("SELECT said_by, source->>'job' FROM memories WHERE source ? 'job'").fetchall()
    assert prompt.startswith("What is remembered:\n- Acme's refund window is 30 days.") and prompt.endswith(asked[1])
    assert set(rows) == {("log-aggregator-loki", view["id"])}
    assert "Remembered in project:shop" in done.stderr
    refused = hotset("run", *asked, "--recall", "3", "--key", "once")
    assert refused.returncode == 2 and "idempotency" in refused.stderr
