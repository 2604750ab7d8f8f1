"""One GPU's model server: does it answer and generate, are its models there, does it run as many requests at once as
the fleet says, does it load models again unseen, and who else uses it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hotset.cli.doctor.finding import Finding, failed, ok, skipped, warning
from hotset.cli.doctor.generation import as_ours, probe_models
from hotset.cli.doctor.others import look_for_others
from hotset.cli.doctor.world import World
from hotset.cli.output import SIMULATED
from hotset.errors import ModelServerUnavailable
from hotset.fleet import Gpu, Model
from hotset.models.probe import Held, Probe, Server

#: A measured size may differ from the fleet file's by so much.
_LARGER, _SMALLER = 1.05, 0.7


def check_server(world: World, gpu: Gpu) -> Iterator[Finding]:
    """Probes only what is loaded already, unless nothing is; `thorough` loads each model in turn."""
    with Probe(world.address(gpu), answer_s=world.answer_s) as probe:
        try:
            server = probe.server()
        except ModelServerUnavailable as e:
            yield failed(f"{gpu.name}.server", e.message, e.remedy)
            return
        yield _server(gpu, probe, server)
        yield from _models(world, gpu, server)
        held = probe.held()
        yield from look_for_others(world, gpu, probe, held)
        yield from _contexts(world, gpu, held)
        seen = {row.model: row for row in held}
        for finding in probe_models(world, gpu, probe, server, held):
            yield finding
            seen |= {row.model: row for row in probe.held()}  # a probe may have loaded one
        yield from _residents(world, gpu, tuple(seen.values()))


def _server(gpu: Gpu, probe: Probe, server: Server) -> Finding:
    name, shown = f"{gpu.name}.server", f"version {server.version or 'unknown'} at {probe.address}"
    if server.simulated:
        return warning(
            name,
            f"{shown}: {SIMULATED}, its words mean nothing",
            "For real answers start Ollama and set HOTSET_MODEL_SERVER, or the GPU's `address` in the fleet file.",
        )
    return ok(name, shown)


def _models(world: World, gpu: Gpu, server: Server) -> Iterator[Finding]:
    name = f"{gpu.name}.models"
    wanted = world.models_of(gpu)
    missing = [model for model in wanted if model not in server.models]
    for model in missing:
        pull = f"Run `ollama pull {model}` on its machine, or name another model in the fleet file."
        remedy = "Start `hotset serve` with this fleet file." if server.simulated else pull
        yield failed(name, f"{model} is not there", remedy)
    if not missing:
        yield ok(name, f"{', '.join(wanted)} are there" if wanted else "no model of the fleet fits this GPU")


def _residents(world: World, gpu: Gpu, held: Sequence[Held]) -> Iterator[Finding]:
    """Measured sizes against the fleet file."""
    name = f"{gpu.name}.sizes"
    models = world.fleet.models
    ours = [row for row in held if row.model in models]
    if not ours:
        yield skipped(name, "no model of the fleet is loaded, so none was measured")
        return
    wrong = False
    for row in ours:
        for finding in _resident(gpu, row, models[row.model]):
            wrong = True
            yield finding
    if not wrong:
        shown = ", ".join(f"{row.model} {row.size_mb:,.0f} MiB" for row in ours)
        yield ok(name, f"{shown}, as the fleet file says")


def _resident(gpu: Gpu, row: Held, model: Model) -> Iterator[Finding]:
    name = f"{gpu.name}.sizes"
    if row.vram_mb < row.size_mb:
        share = 1 - row.vram_mb / row.size_mb
        yield warning(
            name,
            f"{share:.0%} of {row.model} runs on the CPU, which is slow",
            "Take a smaller quantisation or context for it, or give the GPU fewer models at once.",
        )
    elif row.size_mb > _LARGER * model.size_mb:
        yield failed(
            name,
            f"{row.model} takes {row.size_mb:,.0f} MiB, the fleet file says {model.size_mb:,.0f}",
            f"Write `size_mb: {row.size_mb:.0f}` for {row.model} in the fleet file.",
        )
    elif row.size_mb < _SMALLER * model.size_mb:
        yield warning(
            name,
            f"{row.model} takes {row.size_mb:,.0f} MiB only, the fleet file says {model.size_mb:,.0f}",
            f"Write `size_mb: {row.size_mb:.0f}` for {row.model} in the fleet file: more would fit together.",
        )


def _contexts(world: World, gpu: Gpu, held: Sequence[Held]) -> Iterator[Finding]:
    for row in held:
        model = world.fleet.models.get(row.model)
        if model is not None and not as_ours(row, model):
            yield warning(
                f"{gpu.name}.context",
                f"{row.model} is loaded with context {row.context}, the fleet file says {model.context}: "
                "the next job loads it again",
                f"If another client loaded it, let that one send num_ctx {model.context} or use a server of its own; "
                f"if the model can do no more, write `context: {row.context}` in the fleet file.",
            )
