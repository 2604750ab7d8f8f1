"""What the hardware and the models are: frozen data. The file is read by `hotset.fleet_file`.

Sizes are MiB. Times are model seconds (wall seconds ÷ scale).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device: its usable VRAM, how many requests run at once, and its address.

    `speed` divides run and load times. `address` is the base URL of the model server that serves it
    (None: the simulator's GPUs have none; a live worker then takes the setting `model_server`).
    """

    name: str
    vram_mb: float
    slots: int = 2
    speed: float = 1.0
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """`size_mb` includes the KV cache at the fleet's context size; `tokens_per_s` is what one request gets."""

    name: str
    size_mb: float
    load_s: float
    tokens_per_s: float = 40.0
    context: int = 4096


@dataclass(frozen=True, slots=True)
class Queue:
    """A tier's queue: the model its jobs run on, their default deadline and the first estimate of a run."""

    name: str
    model: str
    tier: str
    deadline_s: float
    run_s: float


@dataclass(frozen=True, slots=True)
class Fleet:
    gpus: tuple[Gpu, ...]
    models: Mapping[str, Model]
    queues: Mapping[str, Queue]
    max_wait_s: float = 900.0

    def gpu(self, name: str) -> Gpu:
        """The GPU of that name; KeyError if the fleet has none."""
        for gpu in self.gpus:
            if gpu.name == name:
                return gpu
        raise KeyError(name)

    def queue_of_tier(self, tier: str) -> Queue:
        """The queue that serves a tier; KeyError if none does."""
        for queue in self.queues.values():
            if queue.tier == tier:
                return queue
        raise KeyError(tier)
