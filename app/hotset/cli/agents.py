"""`hotset agents`: who can be asked."""

from __future__ import annotations

from typing import Annotated

import typer

from hotset.cli.output import AsJson, print_json, table


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The agents: who can be asked.")
    group.command("list")(list_agents)
    app.add_typer(group, name="agents")


def list_agents(
    tier: Annotated[str | None, typer.Option(help="Only those of this tier (complex, balanced, light ...).")] = None,
    as_json: AsJson = False,
) -> None:
    """List the agents: the catalogue's and your own.

    \b
    Example:  hotset agents list --tier light
    """
    from hotset.agents import load_registry
    from hotset.cli.fleet import the_fleet
    from hotset.errors import UsageError
    from hotset.settings import load_settings

    settings = load_settings()
    fleet = the_fleet(settings)
    registry = load_registry(fleet, settings.agents)
    tiers = {queue.tier: queue for queue in fleet.queues.values()}
    if tier is not None and tier not in tiers:
        raise UsageError(f"There is no tier {tier!r}.", remedy=f"There are {', '.join(tiers)}.")
    found = [agent for agent in registry if tier in (None, agent.tier)]
    if as_json:
        print_json(
            [
                {
                    "name": a.name,
                    "tier": a.tier,
                    "queue": tiers[a.tier].name,
                    "model": tiers[a.tier].model,
                    "domain": a.domain,
                    "role": a.role,
                    "task_type": a.task_type,
                }
                for a in found
            ]
        )
    else:
        typer.echo(
            table(("agent", "tier", "model", "role"), [(a.name, a.tier, tiers[a.tier].model, a.role) for a in found])
        )
