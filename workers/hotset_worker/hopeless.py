"""Jobs that cannot start by their deadline any more, for users who would rather be told early than served late.

A deadline says when a run should start. It cannot be met once it has passed, nor while the queue's model is on no GPU
and the quickest load would end after it. Which deadlines are near the lanes know in Redis; Postgres decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import Engine

from hotset.broker import Board, GpuState, Lanes
from hotset.fleet import Fleet
from hotset.store import upkeep as store
from hotset.store.jobs import Ended
from hotset_worker.learning import Learned

#: Jobs of a lane that one look asks Postgres about, in pages: the others are met at the next.
_PAGE, _PAGES = 1000, 10


class Hopeless:
    """Used by the upkeep's thread; every worker may do it at once."""

    def __init__(self, lanes: Lanes, fleet: Fleet, learned: Learned, *, scale: float) -> None:
        self._lanes = lanes
        self._board = Board(lanes.redis)
        self._fleet = fleet
        self._learned = learned
        self._scale = scale

    def expire(self, engine: Engine, *, actor: str) -> Iterator[list[Ended]]:
        """End them; those that ended, page by page, are still in their lanes."""
        gpus = list(self._board.read().values())
        for queue in self._fleet.queues.values():
            lead_s = self.lead_s(queue.model, gpus)
            skip = 0
            for _ in range(_PAGES):
                ids = self._lanes.due_within(queue.name, lead_s, skip=skip, most=_PAGE)
                if not ids:
                    break
                ended = store.expire_hopeless(engine, ids, lead_s=lead_s, actor=actor)
                yield ended
                skip += max(0, _PAGE - len(ended))  # those that ran before stay, at the head of their lanes

    def lead_s(self, model: str, gpus: Iterable[GpuState]) -> float:
        """Wall seconds before which no run on the model can start: none if a GPU has it, or none lives to tell."""
        size_mb, load_s = self._fleet.models[model].size_mb, self._learned.load_s(model)
        fitting = [gpu for gpu in gpus if gpu.vram_mb >= size_mb]
        if any(model in gpu.residents or gpu.loading == model for gpu in fitting):
            return 0.0
        return min((load_s / gpu.speed * self._scale for gpu in fitting), default=0.0)
