"""Do the fleet's models fit its GPUs, and which of them fit together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations

from hotset.cli.doctor.finding import Finding, failed, ok, warning
from hotset.cli.doctor.world import World
from hotset.scheduling import OBJECTIVES

#: Subsets of more models than this are not listed: there would be thousands.
_MOST_MODELS = 12


def check_fleet(world: World) -> Iterator[Finding]:
    settings, fleet = world.settings, world.fleet
    gpus, agents = len(fleet.gpus), len(world.registry)
    source = settings.fleet or "the classic 4 GB setting"
    yield ok("fleet", f"{source}: {gpus} GPU{'s' * (gpus > 1)}, {len(fleet.queues)} queues, {agents} agents")
    if settings.objective not in OBJECTIVES:
        yield failed(
            "settings.objective",
            f"there is no objective {settings.objective!r}",
            f"Set HOTSET_OBJECTIVE to one of {', '.join(OBJECTIVES)}.",
        )
    if settings.gpu is not None and settings.gpu not in {gpu.name for gpu in fleet.gpus}:
        names = ", ".join(gpu.name for gpu in fleet.gpus)
        yield failed("settings.gpu", f"the fleet has no GPU {settings.gpu!r}", f"Set HOTSET_GPU to one of {names}.")
    for address, count in Counter(world.address(gpu) for gpu in fleet.gpus).items():
        if count > 1:
            yield failed(
                "fleet.addresses",
                f"{count} GPUs have the model server {address}",
                "Start one model server for each GPU and give each GPU its `address` in the fleet file.",
            )
    used = {queue.model for queue in fleet.queues.values()}
    sizes = {name: model.size_mb for name, model in fleet.models.items() if name in used}
    for gpu in fleet.gpus:
        name, vram = f"{gpu.name}.fit", f"{gpu.vram_mb:,.0f} MiB"
        left_out = [model for model, size in sizes.items() if size > gpu.vram_mb]
        sets = sets_that_fit(sizes, gpu.vram_mb) if len(sizes) <= _MOST_MODELS else []
        shown = "; ".join(" + ".join(each) if len(each) > 1 else f"{each[0]} alone" for each in sets)
        if len(left_out) == len(sizes):
            yield failed(
                name, f"no model fits into {vram}", "Give it smaller models, or remove it from the fleet file."
            )
        elif left_out:
            yield warning(
                name,
                f"{vram}: {shown}; too large for it: {', '.join(left_out)}",
                "Other GPUs must serve those; a smaller quantisation would fit here, too.",
            )
        else:
            yield ok(name, f"{vram}: {shown}" if shown else f"{vram}: each model fits")


def sets_that_fit(sizes: Mapping[str, float], vram_mb: float) -> list[tuple[str, ...]]:
    """The largest sets of models that fit together: none of them is part of another."""
    found: list[tuple[str, ...]] = []
    for count in range(len(sizes), 0, -1):
        for names in combinations(sizes, count):
            fits = sum(sizes[name] for name in names) <= vram_mb
            if fits and not any(set(names) < set(larger) for larger in found):
                found.append(names)
    return found
