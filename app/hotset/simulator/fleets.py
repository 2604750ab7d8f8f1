"""Fleets drawn with a seed, for experiments: 1 to 1000 GPUs of mixed VRAM and speed, 3 to 100 models."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from hotset.errors import UsageError
from hotset.fleet import Fleet, Gpu, Model, Queue

#: (usable VRAM in MiB: 90 % of 4, 8, 12 and 24 GB; slots; speed; how many of ten): what small companies own.
_KINDS = ((3686.0, 2, 1.0, 5), (7373.0, 2, 1.3, 2), (11059.0, 2, 1.7, 2), (22118.0, 4, 2.5, 1))
_SMALLEST_MB = 700.0
#: The largest model fits on at least this part of the GPUs.
_HOLDERS = 0.3
#: Load and run times against size, through the classic models: 800 MiB loads in 2 s and runs for 2 s, 2500 in 5 and 8.
_LOAD_S, _LOAD_S_PER_MB, _RUN_POWER, _RUN_SPREAD = 0.6, 0.00174, 1.5, 0.3
_DEADLINES = (5.0, 30.0)  # in runs
_SOONEST_S = 15.0


def draw_fleet(gpus: int, models: int, seed: int = 1, *, mixed: bool = True) -> Fleet:
    """So many GPUs and models, a queue and tier for each model. `mixed=False`: all GPUs are of 4 GB.

    UsageError beyond 1000 GPUs or 100 models.
    """
    if not (1 <= gpus <= 1000 and 1 <= models <= 100):
        raise UsageError(
            f"A fleet of {gpus} GPUs and {models} models is not drawn.",
            remedy="Choose 1 to 1000 GPUs and 1 to 100 models.",
        )
    rng = random.Random(f"{seed} fleet")
    kinds = rng.choices(_KINDS, [kind[3] for kind in _KINDS], k=gpus) if mixed else [_KINDS[0]] * gpus
    devices = tuple(Gpu(f"gpu{i}", vram, slots, speed) for i, (vram, slots, speed, _) in enumerate(kinds))
    largest = sorted((gpu.vram_mb for gpu in devices), reverse=True)[math.ceil(_HOLDERS * gpus) - 1]
    sizes = sorted(_size(rng, largest) for _ in range(models))
    # At least one model runs everywhere, or the small GPUs would stand idle.
    sizes[0] = min(sizes[0], 0.9 * min(gpu.vram_mb for gpu in devices))
    made = {f"model{i:02d}": size for i, size in enumerate(sizes)}
    return Fleet(
        devices,
        {name: Model(name, size, round(_LOAD_S + _LOAD_S_PER_MB * size, 1)) for name, size in made.items()},
        {f"queue{i:02d}": _queue(rng, i, name, size) for i, (name, size) in enumerate(made.items())},
    )


def with_gpus(fleet: Fleet, count: int) -> Fleet:
    """The fleet with so many GPUs: its own in turn, named anew where there are more than it has."""
    if not 1 <= count <= 10_000:
        raise UsageError(f"{count} GPUs are not simulated.", remedy="Choose 1 to 10000.")
    own = fleet.gpus
    return replace(
        fleet,
        gpus=tuple(
            own[i] if i < len(own) else replace(own[i % len(own)], name=f"{own[i % len(own)].name}-{i // len(own) + 1}")
            for i in range(count)
        ),
    )


def _size(rng: random.Random, largest: float) -> float:
    """Log-uniform up to nine tenths of the VRAM: small models are many, and two large ones do not fit together."""
    return float(round(math.exp(rng.uniform(math.log(_SMALLEST_MB), math.log(0.9 * largest)))))


def _queue(rng: random.Random, number: int, model: str, size: float) -> Queue:
    run_s = 2.0 * (size / 800.0) ** _RUN_POWER * math.exp(rng.gauss(-(_RUN_SPREAD**2) / 2, _RUN_SPREAD))
    deadline_s = max(_SOONEST_S, run_s * rng.uniform(*_DEADLINES))
    return Queue(f"queue{number:02d}", model, f"tier{number:02d}", round(deadline_s, 1), round(run_s, 2))
