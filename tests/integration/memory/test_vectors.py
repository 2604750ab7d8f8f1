"""Vectors cross to Postgres and back in pgvector's binary form; rows that the bench makes are like real ones."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

from hotset import Client
from hotset.embedder import DIMENSIONS
from hotset.lab import memory_size
from hotset.memory import As
from hotset.memory.session import opened
from hotset.memory.vectors import received, sent

COLUMNS = "digest, subject, attribute, single, runs, terms, stems, state, ring, encoder"


def test_a_vector_comes_back_as_it_was_sent(client: Client) -> None:
    vector = np.random.default_rng(1).normal(size=DIMENSIONS).astype(np.float32)
    with opened(client.engine, As("acme")) as session:
        asked = "SELECT halfvec_send(%(v)s::halfvec) AS sent, %(v)s::halfvec::text AS text"
        row = session.connection.exec_driver_sql(asked, {"v": sent(vector)}).one()
    assert np.array_equal(received(row.sent), vector.astype(np.float16).astype(np.float32))
    assert np.allclose([float(x) for x in row.text[1:-1].split(",")], vector, rtol=1e-3, atol=1e-4)


def test_rows_that_the_bench_makes_are_as_if_they_had_been_remembered(client: Client, database: str) -> None:
    real = memory_size._real_vectors(3)
    with opened(client.engine, memory_size._WHO) as session:
        session.execute("scope", {"tenant": "bench", "scope": "project:made"})
        memory_size._prepare(session, real)
        memory_size._make(session, ["project:made"], 20, 60)
    with Client(settings=client.settings, tenant="bench") as bench, psycopg.connect(database) as connection:
        made = connection.execute("SELECT text FROM memories WHERE tenant = 'bench' ORDER BY text").fetchall()
        bench.memory("project:remembered").remember_many(text for (text,) in made)

        def rows(scope: str) -> list[list[object]]:
            asked = f"SELECT {COLUMNS} FROM memories WHERE scope = %s ORDER BY digest"
            found = connection.execute(asked, [scope])
            return [[sorted(x) if isinstance(x, list) else x for x in row] for row in found]

        def names(scope: str) -> list[tuple[object, ...]]:
            asked = "SELECT term, count(*) FROM memory_terms WHERE scope = %s GROUP BY term ORDER BY term"
            return connection.execute(asked, [scope]).fetchall()

        assert len(made) == 40
        assert rows("project:made") == rows("project:remembered")
        assert names("project:made") == names("project:remembered")
        lengths = "SELECT min(l2_norm(embedding)), max(l2_norm(about)) FROM memories WHERE scope = 'project:made'"
        assert connection.execute(lengths).fetchall()[0] == pytest.approx((1, 1), abs=1e-2)
