"""Vectors by the hash of their text, in this process and in the cache Redis: the same question is embedded once."""

from __future__ import annotations

import hashlib
import logging
import random
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import redis

from hotset.embedder.embedder import DIMENSIONS, ENCODER, Embedder

if TYPE_CHECKING:
    from hotset.embedder.embedder import Vectors

log = logging.getLogger(__name__)

_KEEP_S = 3600
_JITTER_S = 600
#: 13 MB of this process's memory.
_LOCAL = 4096


class CachedEmbedder:
    """As `Embedder`, and asks it only for what neither this process nor Redis knows. A Redis that is away costs
    time, not answers. `hits` and `misses` count texts; `uncached` is the one behind, for what nobody could forget
    later."""

    def __init__(self, embedder: Embedder, cache: redis.Redis | None) -> None:
        self.uncached = embedder
        self._cache = cache
        self._local: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        import numpy as np

        keys = [_key(text) for text in texts]
        with self._lock:
            known = {key: self._local[key] for key in keys if key in self._local}
        missing = [key for key in dict.fromkeys(keys) if key not in known]
        if missing:
            known.update(self._ask_redis(missing))
            new = [key for key in missing if key not in known]
            self.misses += len(new)
            if new:
                by_key = dict(zip(keys, texts, strict=True))
                made = zip(*self.uncached.embed([by_key[key] for key in new]), strict=True)
                fresh = {
                    key: meaning.tobytes() + prop.tobytes() for key, (meaning, prop) in zip(new, made, strict=True)
                }
                known.update(fresh)
                self._tell_redis(fresh)
            self._keep({key: known[key] for key in missing})
        self.hits += len(texts) - len([key for key in missing if key in known])
        joined = b"".join(known[key] for key in keys)
        both = np.frombuffer(joined, np.float32).reshape(len(texts), 2, DIMENSIONS)
        return both[:, 0], both[:, 1]

    def forget(self, texts: Sequence[str]) -> None:
        """No trace of these texts stays in the caches (others' processes: until they end or push it out)."""
        keys = [_key(text) for text in texts]
        with self._lock:
            for key in keys:
                self._local.pop(key, None)
        if self._cache is not None and keys:
            self._cache.delete(*keys)

    def _keep(self, vectors: dict[bytes, bytes]) -> None:
        with self._lock:
            self._local.update(vectors)
            while len(self._local) > _LOCAL:
                self._local.popitem(last=False)

    def _ask_redis(self, keys: list[bytes]) -> dict[bytes, bytes]:
        if self._cache is None:
            return {}
        try:
            values = self._cache.mget(keys)
        except redis.RedisError as e:
            log.debug("The cache of vectors does not answer: %s", e)
            return {}
        size = 2 * DIMENSIONS * 4
        return {k: v for k, v in zip(keys, values, strict=True) if isinstance(v, bytes) and len(v) == size}

    def _tell_redis(self, vectors: dict[bytes, bytes]) -> None:
        if self._cache is None:
            return
        try:
            with self._cache.pipeline(transaction=False) as pipe:
                for key, value in vectors.items():
                    pipe.set(key, value, ex=_KEEP_S + random.randrange(_JITTER_S))
                pipe.execute()
        except redis.RedisError as e:
            log.debug("The cache of vectors does not answer: %s", e)


def _key(text: str) -> bytes:
    return b"hs:vecs:" + hashlib.sha256(f"{ENCODER}\0{text}".encode()).digest()
