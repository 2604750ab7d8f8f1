"""After an upgrade that brings another encoder, vectors are made anew, wherever the texts lie."""

from __future__ import annotations

import psycopg

from hotset import Client
from hotset.client.memory import Scope
from hotset.embedder import ENCODER
from hotset.memory import As, upkeep


def test_vectors_of_another_encoder_are_made_anew(client: Client, memory: Scope, database: str) -> None:
    memory.remember("Acme pays in advance.")
    client.demote()
    memory.remember_many(["Globex pays by card.", "Initech's office is in Lyon."])
    asked = [
        ("How does Acme pay?", "Acme pays in advance."),
        ("Where is Initech's office?", "Initech's office is in Lyon."),
    ]
    scores = [memory.search(question)[0].score for question, _ in asked]
    with psycopg.connect(database, autocommit=True) as connection:
        count = "SELECT count(*) FROM memories WHERE encoder = %s"
        connection.execute("UPDATE memories SET encoder = 'older', embedding = array_fill(0.1, ARRAY[384])::vector")
        connection.execute("UPDATE memories SET about = embedding")
        room = client._memory_room()
        assert upkeep.renew_vectors(client.engine, As("acme"), room.embedder, room.hot) == 3
        assert connection.execute(count, [ENCODER]).fetchone() == (3,)
        audited = "SELECT count(*) FROM audit WHERE action = 'memory-vectors-renewed'"
        assert connection.execute(audited).fetchone() == (1,)
    found = [memory.search(question)[0] for question, _ in asked]
    assert [m.text for m in found] == [text for _, text in asked]
    assert [m.score for m in found] == scores
    assert upkeep.renew_vectors(client.engine, As("acme"), room.embedder, room.hot) == 0
