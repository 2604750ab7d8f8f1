"""The fixtures that other tests stand on: each test finds its servers empty."""

from __future__ import annotations

import psycopg
import pytest
import redis


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_a_fresh_migrated_database(database: str, turn: int) -> None:
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
        # Fails at the second turn if the first one's table were still there.
        connection.execute("CREATE TABLE left_behind (turn integer)")


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_an_empty_broker_and_cache(broker_url: str, cache_url: str, turn: int) -> None:
    assert broker_url != cache_url
    for url in (broker_url, cache_url):
        with redis.Redis.from_url(url) as connection:
            assert connection.dbsize() == 0
            connection.set("left behind", turn)


def test_tests_that_use_servers_are_marked(request: pytest.FixtureRequest, broker_url: str) -> None:
    assert request.node.get_closest_marker("servers")
