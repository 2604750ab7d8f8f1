"""Does a model server generate, how many requests at once, and does it load models again unseen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from hotset.agents import Agent, generation_options, load_options
from hotset.broker import GpuState
from hotset.cli.doctor.finding import Finding, failed, ok, skipped, warning
from hotset.cli.doctor.world import World
from hotset.errors import HotsetError
from hotset.fleet import Gpu, Model
from hotset.models import Prompt
from hotset.models.probe import Held, Probe, Server

_FEW_TOKENS = 8
#: Wall seconds that a stream of a simulated server lasts at least; it is broken off before.
_LONG_S = 20.0
_SHORT_PROMPT = "Say OK."
_LONG_PROMPT = "Count from 1 to 1000 in words, one number a line. Leave none out."


def probe_models(world: World, gpu: Gpu, probe: Probe, server: Server, held: Sequence[Held]) -> Iterator[Finding]:
    models = {name: m for name, m in world.models_of(gpu).items() if name in server.models}
    worker = world.workers().get(gpu.name)
    # One with another context would be loaded again: that is left to whoever says --thorough.
    loaded = {row.model for row in held if row.model in models and as_ours(row, models[row.model])}
    chosen, why_not = _choose(world, models, loaded, worker, taken=bool(held))
    if not chosen:
        for what in ("generates", "parallel", "reloads"):
            yield skipped(f"{gpu.name}.{what}", why_not)
        return
    for model in chosen:
        agent = next((a for a in world.registry if world.fleet.queue_of_tier(a.tier).model == model.name), None)
        if agent is None:
            yield skipped(f"{gpu.name}.generates", f"no agent uses {model.name}")
            continue
        yield from _probe(world, gpu, probe, server, model, agent, resident=model.name in loaded)
    if left := [name for name in models if name not in {m.name for m in chosen}]:
        yield skipped(f"{gpu.name}.rest", f"{', '.join(left)} not probed: `--thorough` loads each model in turn")


def as_ours(row: Held, model: Model) -> bool:
    """Whether it is loaded with our context, or the server does not tell."""
    return row.context is None or row.context == model.context


def _choose(
    world: World, models: Mapping[str, Model], loaded: set[str], worker: GpuState | None, *, taken: bool
) -> tuple[list[Model], str]:
    """Which models to probe: all, the smallest that is loaded, or the smallest if nothing is; or why none. `taken`:
    something is loaded, be it ours or not."""
    if not models:
        return [], "no model to probe"
    if world.thorough:
        return list(models.values()), ""
    if resident := [model for name, model in models.items() if name in loaded]:
        return resident[:1], ""
    if world.quick:
        return [], "no model of the fleet is loaded, and --quick loads none"
    if taken:
        return [], "only models of others are loaded, or loaded otherwise than ours; `--thorough` would load ours"
    if worker is not None and (worker.loading or worker.busy):
        return [], f"its worker is loading {worker.loading or 'a model'}; ask again in a moment"
    return list(models.values())[:1], ""


def _probe(
    world: World, gpu: Gpu, probe: Probe, server: Server, model: Model, agent: Agent, *, resident: bool
) -> Iterator[Finding]:
    tier = agent.tier
    few = generation_options(agent, model, tier, {"max_tokens": _FEW_TOKENS})
    short = Prompt(model.name, _SHORT_PROMPT, agent.system, few)
    within_s = world.timeout_s * (1.0 if resident else world.load_factor)
    name = f"{gpu.name}.generates"
    began = time.monotonic()
    try:
        spoken = probe.speak(short, within_s=within_s)
    except HotsetError as e:
        yield _mute(world, gpu, model, e, time.monotonic() - began)
        return
    if spoken.usage.output_tokens == 0:
        yield failed(name, f"{model.name} answered without a token", "Restart the model server; its log may say why.")
        return
    took = f"{spoken.usage.output_tokens} tokens, the first after {spoken.first_token_s:.2f} s"
    yield ok(name, f"{model.name}: {took}{'' if resident else ', loaded for this'}")
    own = {"hotset_run_s": _LONG_S / (server.scale or world.settings.scale)} if server.simulated else {}
    long = Prompt(model.name, _LONG_PROMPT, agent.system, generation_options(agent, model, tier, own))
    yield _parallel(world, gpu, probe, long)
    if probe.reloads(short, load_options(model), within_s=world.timeout_s * world.load_factor):
        yield failed(
            f"{gpu.name}.reloads",
            f"{model.name} is loaded again by a request with the very options of its preload",
            "Something between hotset and the model server changes requests; give the server's own address.",
        )
    else:
        yield ok(f"{gpu.name}.reloads", f"a job's request finds {model.name} as its preload left it")


def _mute(world: World, gpu: Gpu, model: Model, error: HotsetError, after_s: float) -> Finding:
    """It answers questions and generates nothing: what a watchdog of `/api/tags` never sees."""
    name = f"{gpu.name}.generates"
    worker = world.workers().get(gpu.name)
    found = f"{model.name} gave no answer within {after_s:.0f} s: {error.message}"
    if worker is not None and worker.busy >= gpu.slots:
        return warning(
            name,
            f"{found} All {gpu.slots} slots are taken by jobs, which may be why.",
            "Ask again when the GPU is idle; if its jobs do not end either, restart the model server.",
        )
    # An error of the server's own (a model that is too large, say) knows better than we do.
    remedy = error.remedy if error.remedy and "doctor" not in error.remedy else ""
    return failed(name, found, remedy or "Restart the model server: it answers questions, but generates nothing.")


def _parallel(world: World, gpu: Gpu, probe: Probe, long: Prompt) -> Finding:
    name = f"{gpu.name}.parallel"
    worker = world.workers().get(gpu.name)
    if worker is not None and worker.busy:
        return skipped(name, f"{worker.busy} of {gpu.slots} slots are taken by jobs; ask again when the GPU is idle")
    if gpu.slots == 1:
        return ok(name, "1 slot: nothing runs side by side")
    try:
        seen = probe.at_once(long, gpu.slots, within_s=world.timeout_s)
    except HotsetError as e:
        return failed(name, f"{gpu.slots} requests at once: {e.message}", e.remedy or "Restart the model server.")
    shown = f"{seen.streams} of {gpu.slots} requests run at once"
    if seen.streams >= gpu.slots:
        return ok(name, f"{shown} on {long.model}")
    worker = world.workers().get(gpu.name)
    if not seen.sure or (worker is not None and worker.busy):
        why = "jobs ran meanwhile" if seen.sure else "the answers were too short to tell"
        return warning(name, f"{shown} on {long.model}, but {why}", "Ask again when the GPU is idle.")
    return failed(
        name,
        f"{shown} on {long.model}: the others wait inside the model server",
        f"Set OLLAMA_NUM_PARALLEL={gpu.slots} where the model server starts, or `slots: {seen.streams}` for "
        f"{gpu.name} in the fleet file.",
    )
