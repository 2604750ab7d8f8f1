"""Who else uses a GPU's model server: what is loaded that we did not load, and what changes while we do nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from hotset.cli.doctor.finding import Finding, ok, warning
from hotset.cli.doctor.world import World
from hotset.fleet import Gpu, Model
from hotset.models.probe import Held, Probe

#: Wall seconds between two looks at what is loaded.
_LOOK_AGAIN_S = 1.0
#: A model's timer moves by itself by less than this.
_MOVED_S = 0.2


def look_for_others(world: World, gpu: Gpu, probe: Probe, before: Sequence[Held]) -> Iterator[Finding]:
    """Looks twice, and at our worker before and after: what changes while that is idle is somebody else's doing."""
    worker = world.workers().get(gpu.name)
    if before and not world.quick:
        time.sleep(_LOOK_AGAIN_S)
    after = probe.held()
    later = world.workers().get(gpu.name)
    idle = all(state is None or (not state.busy and not state.loading) for state in (worker, later))
    yield compare_looks(gpu, world.fleet.models, before, after, pinned=worker is not None, idle=idle)


def compare_looks(
    gpu: Gpu, models: Mapping[str, Model], before: Sequence[Held], after: Sequence[Held], *, pinned: bool, idle: bool
) -> Finding:
    """Signs of another client. `pinned`: a worker of ours keeps its models for ever. `idle`: nothing of ours ran."""
    name = f"{gpu.name}.others"
    signs = []
    if foreign := [f"{row.model} ({row.vram_mb:,.0f} MiB)" for row in after if row.model not in models]:
        signs.append(f"{', '.join(foreign)} loaded, which the fleet does not have")
    for row in after:
        was = next((each.expires_at for each in before if each.model == row.model), None)
        if row.model not in models or row.expires_at in (None, float("inf")):
            continue
        assert row.expires_at is not None  # noqa: S101 - for the type checker
        if pinned and idle:
            signs.append(f"somebody set the keep_alive of {row.model} back, which our worker keeps for ever")
        elif idle and was is not None and row.expires_at - was > _MOVED_S:
            signs.append(f"somebody used {row.model} just now")
    if idle and {row.model for row in before} != {row.model for row in after}:
        signs.append("models came or went while no job of ours ran")
    if not signs:
        return ok(name, "no sign of another client" + ("" if idle else ", as far as can be told while jobs run"))
    return warning(
        name,
        "; ".join(signs),
        "Give other clients a model server of their own, or let them come through hotset: they evict our models.",
    )
