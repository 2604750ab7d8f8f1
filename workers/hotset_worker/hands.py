"""What the owner has done for it, since it takes long: questions to the model server, evictions, loads.

Two threads, so that a question is answered while a model loads; what came of it goes into the owner's mailbox.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from hotset.errors import GenerationFailed, HotsetError
from hotset.models import Loaded, ModelServer, Prompt
from hotset_worker.events import Seen, Switched
from hotset_worker.watchdog import GRACE_S

log = logging.getLogger(__name__)


class Hands:
    """`tell` gets a Seen for each `look` and a Switched for each `switch`, whatever happens."""

    def __init__(self, gpu: str, server: ModelServer, tell: Callable[[Seen | Switched], None]) -> None:
        self._gpu, self._server, self._tell = gpu, server, tell
        self._threads: Executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="hotset-hands")

    def look(self, sequence: int) -> None:
        """Ask what is loaded."""

        def work() -> None:
            try:
                self._tell(Seen(self._server.resident(), sequence))
            except HotsetError as e:
                self._tell(Seen((), sequence, str(e)))

        self._threads.submit(work)

    def switch(self, victims: Sequence[str], model: str, options: Mapping[str, Any], *, timeout_s: float) -> None:
        """Evict the victims one by one, then load the model, each within that many wall seconds."""

        def work() -> None:
            error: HotsetError | None = None
            try:
                for victim in victims:
                    self._server.unload(victim, timeout_s=timeout_s)
                # A preload of what is there already would take back an eviction that another client waits for.
                if model not in {m.model for m in self._server.resident()}:
                    self._server.load(model, options, timeout_s=timeout_s)
            except HotsetError as e:
                error = e
            except Exception as e:
                log.exception("GPU %s: loading %s failed in an unforeseen way.", self._gpu, model)
                error = HotsetError(f"Loading {model} failed: {e}.")
            self._tell(Switched(model, error))

        self._threads.submit(work)

    def resident(self) -> tuple[Loaded, ...]:
        """What is loaded, asked in the caller's thread."""
        return self._server.resident()

    def probe(self, model: str, options: Mapping[str, Any], *, limit_s: float) -> None:
        """One token, in the caller's thread, with the options of jobs. Raises what generations raise."""
        generation = self._server.generate(
            Prompt(model=model, prompt="Say OK.", options={**options, "num_predict": 1}),
            first_token_timeout_s=limit_s,
            stall_timeout_s=limit_s,
        )
        timer = threading.Timer(limit_s + GRACE_S, generation.close)
        timer.daemon = True
        timer.start()
        try:
            for _ in generation:
                return
            raise GenerationFailed(f"{model} ended without a word.")
        finally:
            timer.cancel()
            generation.close()

    def close(self) -> None:
        """Begin nothing more; what is under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
