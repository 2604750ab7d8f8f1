"""What memory relies on of an embedder, whichever it is: the encoder itself, or with the caches before it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import redis

from hotset.broker.replies import connect_cache
from hotset.embedder import DIMENSIONS, CachedEmbedder, Embedder, shared_embedder

Embeds = Embedder | CachedEmbedder

TEXTS = ["short", "a much longer text about refunds and warranties " * 20, "", "naïve 東京 😀", "short", "a\x00b\nc"]


@pytest.fixture(params=["the encoder", "with a cache in the process", "with Redis", "with a Redis that is away"])
def embedder(request: pytest.FixtureRequest) -> Embeds:
    makers: dict[str, Callable[[], Embeds]] = {
        "the encoder": shared_embedder,
        "with a cache in the process": lambda: CachedEmbedder(shared_embedder(), None),
        "with Redis": lambda: CachedEmbedder(
            shared_embedder(), redis.Redis.from_url(request.getfixturevalue("cache_url"))
        ),
        "with a Redis that is away": lambda: CachedEmbedder(
            shared_embedder(), connect_cache("redis://127.0.0.1:1/0", text=False)
        ),
    }
    return makers[request.param]()


def test_a_unit_vector_for_each_text_in_their_order(embedder: Embeds) -> None:
    for vectors in embedder.embed(TEXTS):
        assert vectors.shape == (len(TEXTS), DIMENSIONS) and vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert np.allclose(vectors[0], vectors[4], atol=1e-5) and not np.allclose(vectors[0], vectors[1], atol=0.1)


def test_the_same_text_has_the_same_vector_alone_together_and_again(embedder: Embeds) -> None:
    together = np.array(embedder.embed(TEXTS))
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS], axis=1)
    assert np.allclose(together, alone, atol=1e-5)
    assert np.allclose(np.array(embedder.embed(TEXTS[::-1]))[:, ::-1], together, atol=1e-5)


def test_no_text_gives_no_vector(embedder: Embeds) -> None:
    assert [vectors.shape for vectors in embedder.embed([])] == [(0, DIMENSIONS)] * 2


def test_what_means_the_same_is_nearer(embedder: Embeds) -> None:
    (dog, puppy, tax), _ = embedder.embed(["The dog sleeps.", "A puppy is asleep.", "The tax is due in May."])
    assert dog @ puppy > dog @ tax + 0.2


def test_meaning_and_property_are_not_mixed_up(embedder: Embeds) -> None:
    meaning, prop = embedder.embed(["Ann lives in Rome.", "Bob lives in Oslo."])
    assert not np.allclose(meaning, prop, atol=0.1)
    # One property of two people: the same by the adapter, whoever it is said of.
    assert prop[0] @ prop[1] > meaning[0] @ meaning[1] + 0.1


def test_several_threads_at_once(embedder: Embeds) -> None:
    texts = [f"customer number {i}" for i in range(12)]
    wanted, _ = embedder.embed(texts)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: embedder.embed([texts[i % 12]])[0][0], range(36)))
    assert all(np.allclose(vector, wanted[i % 12], atol=1e-5) for i, vector in enumerate(found))
