"""A simulated GPU, and when it is away."""

from __future__ import annotations

from dataclasses import dataclass

from hotset.fleet import Gpu
from hotset.simulator.jobs_file import SimJob


@dataclass(frozen=True, slots=True)
class Outage:
    """A GPU that is away from one moment to another: what ran on it starts again elsewhere, what it held is lost."""

    gpu: str
    from_s: float
    until_s: float = float("inf")


class Device:
    """One simulated GPU. Only the world changes it, but for `reserved` (slots that a driver has promised) and
    `charged` (what a driver has charged for the jobs that run)."""

    __slots__ = (
        "busy",
        "charged",
        "draining_idle",
        "epoch",
        "free_mb",
        "gpu",
        "index",
        "loading",
        "loading_idle",
        "offered",
        "reason",
        "reserved",
        "resident",
        "running",
        "switch_since",
        "switch_to",
        "up",
        "used",
        "victims",
        "vram_mb",
        "wake_at",
        "work",
    )

    def __init__(self, index: int, gpu: Gpu, vram_mb: float) -> None:
        self.index = index
        self.gpu = gpu
        self.vram_mb = vram_mb
        self.free_mb = vram_mb
        self.busy = 0
        self.resident: dict[str, float] = {}  # model -> when it was loaded
        self.running: dict[str, int] = {}  # model -> requests in flight, for resident models
        self.used: dict[str, float] = {}  # model -> when a job last started on it
        self.switch_to: str | None = None
        self.victims: tuple[str, ...] = ()
        self.switch_since = 0.0
        self.loading = False
        self.reason = ""
        self.up = True
        self.epoch = 0  # rises when it goes away: what was under way then never ends
        self.reserved = 0
        self.charged: dict[str, float] = {}
        self.work: dict[str, SimJob] = {}
        self.offered: tuple[str, ...] | None = None  # for `World._offer`
        self.wake_at: float | None = None
        self.loading_idle = 0
        self.draining_idle = 0

    @property
    def free_slots(self) -> int:
        return self.gpu.slots - self.busy - self.reserved

    def runs(self, model: str) -> bool:
        """May a job on this model start now, as far as VRAM goes?"""
        return model in self.resident and model not in self.victims
