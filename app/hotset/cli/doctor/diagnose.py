"""All checks: first what everything else needs, settings and fleet; then the rest side by side."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hotset.agents import load_registry
from hotset.cli.doctor.clocks import check_clocks
from hotset.cli.doctor.database import check_database
from hotset.cli.doctor.examine import examine
from hotset.cli.doctor.finding import Family, Finding, failed, ok
from hotset.cli.doctor.fleet import check_fleet
from hotset.cli.doctor.machine import check_machine
from hotset.cli.doctor.model_server import check_server
from hotset.cli.doctor.redis_servers import check_apart, check_redis
from hotset.cli.doctor.secrets import without_secrets
from hotset.cli.doctor.upkeep import check_upkeep
from hotset.cli.doctor.workers import check_workers
from hotset.cli.doctor.world import World
from hotset.cli.fleet import the_fleet
from hotset.errors import InvalidSettings, UsageError
from hotset.fleet import Gpu
from hotset.settings import Settings, load_settings

#: Questions to one server: a connection that hangs, and some answers.
_QUESTIONS = 4
#: Probes of one model, each with its own limit; this is behind them.
_PROBES = 10


def diagnose(
    *,
    timeout_s: float,
    quick: bool = False,
    thorough: bool = False,
    progress: Callable[[list[str]], None] = lambda _: None,
) -> list[Finding]:
    """Every finding, without any secret. Changes nothing but what probes of model servers load."""
    try:
        settings = load_settings()
    except InvalidSettings as e:
        return [failed("settings", e.message, e.remedy or "Mend it; `hotset config` shows every setting.")]
    found = [ok("settings", f"valid; home {settings.home}, tenant {settings.tenant}, scale {settings.scale:g}")]
    gpus: tuple[Gpu, ...] = ()
    try:
        fleet = the_fleet(settings)
        gpus = fleet.gpus
        world = World(settings, fleet, load_registry(fleet, settings.agents), timeout_s, quick, thorough)
    except UsageError as e:
        # Without a fleet most questions have no meaning; the message names file, line and fix.
        found.append(failed("fleet", e.message.rstrip(";"), e.remedy))
        return without_secrets(found, _urls(settings, gpus))
    found += examine(_families(world), progress)
    return without_secrets(found, _urls(settings, gpus))


def _families(world: World) -> list[Family]:
    asking = _QUESTIONS * world.answer_s + 1
    models = len(world.fleet.models) if world.thorough else 1
    probing = asking + _PROBES * models * world.timeout_s
    network = "Is the address right, and does a firewall swallow the connection?"
    return [
        Family("machine", partial(check_machine, world), asking, "Is the disk of the home folder there?"),
        Family("fleet", partial(check_fleet, world), asking, "Look at the fleet file."),
        Family("database", partial(check_database, world), asking, network),
        Family("broker", partial(check_redis, world, "broker"), asking, network),
        Family("cache", partial(check_redis, world, "cache"), asking, network),
        Family("broker.apart", partial(check_apart, world), asking, network),
        Family("clocks", partial(check_clocks, world), asking, network),
        *(
            Family(f"{gpu.name}.server", partial(check_server, world, gpu), probing, "Restart the model server.")
            for gpu in world.fleet.gpus
        ),
        Family("workers", partial(check_workers, world), asking * (1 + len(world.fleet.gpus)), network),
        Family("upkeep", partial(check_upkeep, world), asking, network),
    ]


def _urls(settings: Settings, gpus: tuple[Gpu, ...]) -> list[str]:
    secrets = [settings.database_url, settings.broker_url, settings.cache_url]
    return [*(s.get_secret_value() for s in secrets), settings.model_server, *(gpu.address or "" for gpu in gpus)]
