"""What the operator has paused, as this worker knows it: read from Postgres once a second.

Until the first answer nothing is known, and the owner grants nothing: a restart must not undo a pause. When Postgres
is away later, what was known stays true.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy import Engine

from hotset.errors import Unavailable
from hotset.store import pauses
from hotset.store.pauses import Paused
from hotset_worker.background import Absence, Background

log = logging.getLogger(__name__)

_LOOK_S = 1.0


class PauseWatch(Background):
    """`now` is read by the owner's thread at each look; `changed` is called when it became another."""

    def __init__(self, engine: Engine, changed: Callable[[], None]) -> None:
        self._engine = engine
        self._changed = changed
        super().__init__("hotset-pauses")
        self.now: Paused | None = None
        self._absence = Absence(log)

    def look(self) -> None:
        """Read them once."""
        found = pauses.names(pauses.read(self._engine))
        if found == self.now:
            return
        if found != Paused() or self.now is not None:
            log.warning("Paused now: queues %s, GPUs %s.", sorted(found.queues), sorted(found.gpus))
        self.now = found
        self._changed()

    def _main(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
                self._absence.end("Pauses are read again.")
            except Unavailable as e:
                self._absence.begin("Pauses could not be read, what was known stays: %s", e)
            except Exception:
                log.exception("Pauses could not be read; is the database up to date (`hotset migrate`)?")
            self._stopping.wait(_LOOK_S)
