"""`hotset messages`: what is sent, read, dead, replayed and erased."""

from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

from stack import Stack

Hotset = Callable[..., "CompletedProcess[str]"]
TO = "qa-team-lead"


def test_messages_by_the_command_line(hotset: Hotset, stack: Stack) -> None:
    def said(*words: str, **how: Any) -> Any:
        done = hotset("messages", *words, "--json", **how)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first = said("send", TO, '{"release": "2.1"}', "--from", "system-architect", "--topic", "review")["id"]
    assert said("send", TO, "-", "--key", "k", stdin="just a text") == said("send", TO, "just a text", "--key", "k")
    unknown = hotset("messages", "send", "qa-taem-lead", "x")
    assert unknown.returncode == 0 and "no agent of the catalogue" in unknown.stderr

    (row,) = said("list", "--to", TO, "--from", "system-architect", "--state", "waiting")
    assert (row["id"], row["topic"], row["attempts"], row["bytes"]) == (first, "review", 0, 17)
    assert "body" not in row and said("show", first)["body"] == {"release": "2.1"}
    assert "qa-team-lead" in hotset("messages", "list").stdout and '"2.1"' in hotset("messages", "show", first).stdout

    lines = hotset("messages", "read", TO, "--limit", "9", "--json").stdout.splitlines()
    assert [json.loads(line)["body"] for line in lines] == ["just a text", {"release": "2.1"}]
    assert hotset("messages", "read", TO, "--json").stdout == ""

    assert said("subscribe", TO, "releases")["changed"] and said("topics") == {"releases": [TO]}
    assert said("publish", "releases", "2.2")["copies"] == 1
    assert said("unsubscribe", TO, "releases")["changed"] and said("publish", "releases", "2.3")["copies"] == 0

    (left,) = stack.client().inbox(TO, timeout=0)
    assert left.body == 2.2
    for _ in range(4):
        left.nack("no", delay=0)
        (left,) = stack.client().inbox(TO, timeout=0)
    left.nack("never")
    (dead,) = said("dead")
    assert (dead["id"], dead["state"], dead["reason"], dead["attempts"]) == (left.id, "dead", "never", 5)
    assert hotset("messages", "replay").returncode == 2
    assert said("replay", "--all", "--yes") == [left.id] and said("dead") == []
    assert said("erase", left.id, "--yes")["erased"]
    gone = hotset("messages", "show", left.id)
    assert gone.returncode == 1 and "no message" in gone.stderr
    actions = json.loads(hotset("audit", "list", "--json").stdout)
    assert [a["action"] for a in actions if "message" in a["detail"]] == [
        "dead-letter",
        "message-replayed",
        "message-erased",
    ]
