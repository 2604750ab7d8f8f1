"""The fleet that the settings name, and one GPU of it."""

from __future__ import annotations

from hotset.errors import UsageError, did_you_mean
from hotset.fleet import Fleet, Gpu
from hotset.fleet_file import classic_fleet, read_fleet
from hotset.settings import Settings


def the_fleet(settings: Settings) -> Fleet:
    return read_fleet(settings.fleet) if settings.fleet else classic_fleet()


def the_gpu(fleet: Fleet, name: str | None) -> Gpu:
    """The GPU of that name; without a name the only one. Raises UsageError."""
    names = [gpu.name for gpu in fleet.gpus]
    if name is None and len(names) == 1:
        return fleet.gpus[0]
    if name is None:
        raise UsageError(f"The fleet has {len(names)} GPUs.", remedy=f"Say which: --gpu {' or --gpu '.join(names)}.")
    if name not in names:
        hint = did_you_mean(name, names, "")
        known = hint if hint.startswith("Did") else f"It has {', '.join(names)}."
        raise UsageError(f"The fleet has no GPU {name!r}.", remedy=known)
    return fleet.gpu(name)
