"""The encoder: batches of texts to unit vectors, each batch on one CPU thread, several batches at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

from hotset.errors import EmbedderMissing, UsageError
from hotset.turns import Turns

if TYPE_CHECKING:
    import numpy as np

    from hotset.embedder.wordpiece import WordPiece

    Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]

#: Stands beside each stored vector: vectors of two encoders, or by two adapters, cannot be compared.
ENCODER = "all-MiniLM-L6-v2/fp32+properties-2"
DIMENSIONS = 384
#: The model was trained on at most so many tokens; the rest of a text does not count.
MOST_TOKENS = 256
#: Characters beyond these cannot reach the tokens that count.
MOST_CHARS = 20_000
MOST_TEXTS = 10_000
#: More at once save nothing: of sentences four take the time of four, and of long texts what is computed no longer fits
#: into the CPU's caches. So what comes together is spread over the threads.
_BATCH = 4
#: Calls with so few texts take turns, in the order in which they came, as many at once as there are threads. One batch
#: for all who wait would take an eighth less of the processor, and each would wait for the whole batch.
_FEW_TEXTS = 4
#: A batch ends before a text that is so much longer than its first: what is padded is computed as well.
_MOST_PADDING = 1.5
#: The machine has other work.
_THREADS = 4


class Embedder:
    """Loaded at the first text (about a second, 250 MB). Thread-safe."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or min(_THREADS, len(os.sched_getaffinity(0)))
        self._loading = threading.Lock()
        self._loaded: tuple[WordPiece, Any] | None = None
        self._turns = Turns(self._threads)

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        """Two arrays (number of texts, 384), rows of length 1, in the order of the texts: of the meaning, and of the
        property.

        The first by the model as it is. The second by the adapter, which brings together what is said of one property,
        and what asks for it, whoever it is said of and whatever its value is. One cannot be compared with the other.
        Text beyond 256 tokens is not seen. Raises EmbedderMissing; UsageError for more than 10,000 texts at once.
        """
        if len(texts) > MOST_TEXTS:
            raise UsageError(f"{len(texts)} texts are too many at once.", remedy=f"Give at most {MOST_TEXTS}.")
        if 0 < len(texts) <= _FEW_TEXTS:
            with self._turns.turn():
                return self._run(texts)
        return self._run(texts)

    def _run(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        words, session = self._load()
        import numpy as np

        encoded = [words.encode(text[:MOST_CHARS], MOST_TOKENS) for text in texts]
        meaning, prop = np.empty((2, len(texts), DIMENSIONS), np.float32)

        def compute(batch: list[int]) -> None:
            longest = len(encoded[batch[-1]])
            ids = np.zeros((len(batch), longest), np.int64)
            mask = np.zeros((len(batch), longest), np.float32)
            for row, i in enumerate(batch):
                ids[row, : len(encoded[i])] = encoded[i]
                mask[row, : len(encoded[i])] = 1.0
            meaning[batch], prop[batch] = session.run(["meaning", "property"], {"ids": ids, "mask": mask})

        batches = list(_batches([len(tokens) for tokens in encoded]))
        if len(batches) == 1:
            compute(batches[0])
        elif batches:
            # Not kept: threads do not survive a fork, and a pool would wait for them. The longest first.
            with ThreadPoolExecutor(min(self._threads, len(batches))) as pool:
                list(pool.map(compute, reversed(batches)))
        return meaning, prop

    def _load(self) -> tuple[WordPiece, Any]:
        if self._loaded is None:
            with self._loading:
                if self._loaded is None:
                    self._loaded = self._open()
        return self._loaded

    def _open(self) -> tuple[WordPiece, Any]:
        try:
            import onnxruntime

            from hotset.embedder.graph import build
        except ImportError as e:
            raise EmbedderMissing(f"The package {e.name} is not installed.") from e
        from hotset.embedder.weights import model_folder, read_adapter, read_weights
        from hotset.embedder.wordpiece import WordPiece

        folder = model_folder()
        options = onnxruntime.SessionOptions()
        # Two threads would wait for each other a hundred times a text, on a busy machine until both have had a core
        # each time.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        model = build(read_weights(folder), read_adapter())
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return WordPiece.read(folder / "vocab.txt"), session


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The places of texts of like length together, the longest last."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == _BATCH or lengths[i] > _MOST_PADDING * lengths[batch[0]]):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


@cache
def shared_embedder() -> Embedder:
    """One for the whole process: the weights are in memory once."""
    return Embedder()
