"""What the bench of faults does to servers does it, and ends with its block."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from hotset.embedded.valkey import Valkey, free_port
from hotset.lab.faults.injuries import LostReplies, cpu_seconds, cut_connections, full_disk
from hotset.lab.faults.journal import Journal
from stack import eventually


@pytest.fixture(scope="module")
def broker(module_server_home: Path) -> Iterator[Valkey]:
    with Valkey(module_server_home / "broker", "broker", port=free_port()) as broker:
        yield broker


def once(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))


def test_a_full_disk_lets_nothing_be_changed_until_it_has_room_again(broker: Valkey) -> None:
    assert broker.process is not None
    with once(broker.url) as client:

        def refused() -> bool:
            try:
                client.set("a", "x" * 1000)
            except redis.ResponseError as e:
                return str(e).startswith("MISCONF")
            return False

        client.set("before", "1")
        with full_disk(broker.process.pid):
            eventually(refused, within_s=10)
            assert client.get("before") == b"1"
        eventually(lambda: not refused(), within_s=10)
    assert broker.process.alive() and cpu_seconds(broker.process.pid) >= 0


def test_a_lost_reply_was_heard_by_the_server(broker: Valkey) -> None:
    with LostReplies(broker.url, marker=b"marked", every=2) as lossy, once(lossy.url) as client:
        assert client.incr("plain") == 1
        client.rpush("list", "marked 1")
        with pytest.raises(redis.ConnectionError):
            client.rpush("list", "marked 2")
        assert client.incr("plain") == 2
        assert lossy.lost == 1
    with once(broker.url) as client:
        assert client.lrange("list", 0, -1) == [b"marked 1", b"marked 2"]


def test_cut_connections_end_at_once(broker: Valkey) -> None:
    with once(broker.url) as client, once(broker.url) as listener:
        pubsub = listener.pubsub()
        pubsub.subscribe("channel")
        before = client.client_id()
        cut_connections(broker.url)
        eventually(lambda: client.client_id() != before, within_s=5)
        assert client.client_list(_type="pubsub") == []
        pubsub.close()


def test_the_journal_counts_what_runs_and_what_began_twice(tmp_path: Path) -> None:
    trace = tmp_path / "gpu0.jsonl"
    journal = Journal({"gpu0": trace})

    def say(event: str, job: str, second: int, **fields: str) -> None:
        at = f"2026-01-01T00:00:{second:02}+00:00"
        with trace.open("a") as file:
            file.write(json.dumps({"event": event, "job": job, "at": at, **fields}) + "\n")

    say("start", "a", 1)
    say("start", "b", 2)
    assert journal.read().running("gpu0") == {"a", "b"}
    say("finish", "a", 3, outcome="cancelled")
    say("start", "a", 5)
    say("finish", "a", 6, outcome="succeeded")
    with trace.open("a") as file:
        file.write('{"event": "fin')  # half a line, not yet
    assert journal.read().running() == {"b"}
    assert journal.started_twice == 1 and journal.answers == {"a": 1}
    first, again = journal.starts["a"]
    assert again - first == 4 and journal.started_after("a", first) == again
    assert journal.first_start_after(again) is None
    assert journal.free_after(first, 2) == first, "a runs alone then"
    assert journal.free_after(first, 1) is None, "b runs on"
    assert journal.free_after(journal.starts["b"][0], 2) == first + 2, "both run until a ends"
