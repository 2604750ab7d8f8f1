"""`hotset agents`: who can be asked; check a file of your own, and add to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotset.cli.completion import complete_agents, complete_tiers
from hotset.cli.output import AsJson, note, print_json, table

if TYPE_CHECKING:
    from hotset.agents import Agent
    from hotset.fleet import Fleet

Tier = Annotated[str | None, typer.Option(help="Only those of this tier.", autocompletion=complete_tiers)]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The agents: who can be asked.")
    group.command("list")(list_agents)
    group.command("show")(show)
    group.command("check")(check)
    group.command("add")(add)
    app.add_typer(group, name="agents")


def list_agents(
    tier: Tier = None,
    domain: Annotated[str | None, typer.Option(help="Only those whose domain has this text in it.")] = None,
    search: Annotated[str | None, typer.Option(help="Only those with this text in name, domain or role.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the agents: the catalogue's and your own.

    \b
    Example:  hotset agents list --tier light
              hotset agents list --search loki --json
    """
    from hotset.agents import load_registry
    from hotset.cli.fleet import the_fleet
    from hotset.errors import UsageError
    from hotset.settings import load_settings

    settings = load_settings()
    fleet = the_fleet(settings)
    registry = load_registry(fleet, settings.agents)
    tiers = [queue.tier for queue in fleet.queues.values()]
    if tier is not None and tier not in tiers:
        raise UsageError(f"There is no tier {tier!r}.", remedy=f"There are {', '.join(tiers)}.")
    found = [
        agent
        for agent in registry
        if tier in (None, agent.tier)
        and _has(domain, agent.domain)
        and _has(search, agent.name, agent.domain, agent.role)
    ]
    if as_json:
        print_json([_object(agent, fleet) for agent in found])
        return
    rows = [(a.name, a.tier, fleet.queue_of_tier(a.tier).model, a.domain, a.role) for a in found]
    typer.echo(table(("agent", "tier", "model", "domain", "role"), rows))


def show(
    name: Annotated[str, typer.Argument(help="The agent.", autocompletion=complete_agents)], as_json: AsJson = False
) -> None:
    """Show an agent: its tier, queue and model, its system prompt, and the options its runs have.

    \b
    Example:  hotset agents show senior-backend-developer
    """
    from hotset.agents import generation_options, load_registry
    from hotset.cli.fleet import the_fleet
    from hotset.settings import load_settings

    settings = load_settings()
    fleet = the_fleet(settings)
    agent = load_registry(fleet, settings.agents).get(name)
    model = fleet.models[fleet.queue_of_tier(agent.tier).model]
    found = {
        **_object(agent, fleet),
        "max_tokens": agent.max_tokens,
        "temperature": agent.temperature,
        "options": generation_options(agent, model, agent.tier, {}),
        "system": agent.system,
    }
    if as_json:
        print_json(found)
        return
    facts = {k: v for k, v in found.items() if k not in ("name", "system", "options") and v is not None}
    options = ", ".join(f"{k}={v}" for k, v in found["options"].items())
    typer.echo(table(("agent", agent.name), [*facts.items(), ("options", options)]))
    typer.echo(f"\n{agent.system}")


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A YAML list of agents.")], as_json: AsJson = False
) -> None:
    """Check a file of your own agents against the fleet and the catalogue: the first error, with its line and remedy.

    \b
    Example:  hotset agents check agents.yaml
    """
    from hotset.agents import load_registry
    from hotset.agents.registry import catalogue
    from hotset.cli.fleet import the_fleet
    from hotset.settings import load_settings

    known = set(catalogue())
    own = [agent.name for agent in load_registry(the_fleet(load_settings()), file) if agent not in known]
    if as_json:
        print_json({"file": str(file), "agents": own})
    else:
        note(f"{file}: {len(own)} {'agent is' if len(own) == 1 else 'agents are'} all right: {', '.join(own) or '-'}.")


def add(
    name: Annotated[str, typer.Argument(help="Its name: a-z, 0-9 and '-'.")],
    tier: Annotated[str, typer.Option(help="Its tier: which model.", autocompletion=complete_tiers)],
    system: Annotated[str, typer.Option(help="Its system prompt; @FILE reads it from a file.")],
    role: Annotated[str | None, typer.Option(help="What it is, in a few words (default: from the name).")] = None,
    domain: Annotated[str, typer.Option(help="Where it belongs.")] = "custom",
    task_type: Annotated[str, typer.Option(help="code, creative, analysis or default.")] = "default",
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 to 2.")] = None,
    replaces: Annotated[
        bool, typer.Option("--replaces", help="It stands in for the catalogue's of that name.")
    ] = False,
    file: Annotated[Path | None, typer.Option(help="The file (default: the setting `agents`, or agents.yaml).")] = None,
    as_json: AsJson = False,
) -> None:
    """Add an agent of your own to your file of agents. It is checked first; what stands in the file stays as it is.

    \b
    Example:  hotset agents add invoice-reader --tier balanced --system "You read invoices and answer in JSON."
              hotset agents add poet --tier light --task-type creative --system @poet.txt --file agents.yaml
    """
    from hotset.cli.fleet import the_fleet
    from hotset.settings import load_settings

    settings = load_settings()
    path = file or settings.agents or Path("agents.yaml")
    entry = {
        "name": name,
        "tier": tier,
        "domain": domain,
        "role": role or name.replace("-", " ").capitalize(),
        "task_type": task_type,
        "system": _system(system),
        "max_tokens": max_tokens,
        "temperature": temperature,
        "replaces": replaces or None,
    }
    _append(path, {k: v for k, v in entry.items() if v is not None}, the_fleet(settings))
    used = settings.agents is not None and settings.agents.resolve() == path.resolve()
    if as_json:
        print_json({"file": str(path), "name": name, "used": used})
        return
    note(f"{name} is in {path}.")
    if not used:
        note(f'Use the file: HOTSET_AGENTS={path}, or `agents = "{path}"` in hotset.toml, for workers too.')
    else:
        note("Workers that run know it after a restart.")


def _append(path: Path, entry: dict[str, Any], fleet: Fleet) -> None:
    """Write the file with the entry at its end, beside and renamed, if the whole of it is right."""
    import yaml

    from hotset.agents import load_registry
    from hotset.errors import InvalidCatalogue

    before = path.read_text("utf-8") if path.exists() else "# Agents of your own: see `hotset agents show`.\n"
    if before.strip() and path.exists():
        load_registry(fleet, path)  # an error of the file is not blamed on the entry
    dumped = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=100)
    indent = " " * _indent(before)
    lines = "".join(f"{indent}{line}" if line.strip() else line for line in dumped.splitlines(keepends=True))
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(before + ("" if not before or before.endswith("\n") else "\n") + lines, "utf-8")
        if path.exists():
            draft.chmod(path.stat().st_mode & 0o777)
        try:
            load_registry(fleet, draft)
        except InvalidCatalogue as e:
            raise InvalidCatalogue(e.message.replace(str(draft), str(path)), remedy=e.remedy) from None
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _indent(text: str) -> int:
    """The column of the list's dashes."""
    import yaml

    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return int(node.start_mark.column) if isinstance(node, yaml.SequenceNode) and not node.flow_style else 0


def _system(text: str) -> str:
    return Path(text[1:]).read_text("utf-8") if text.startswith("@") else text


def _has(wanted: str | None, *texts: str) -> bool:
    return wanted is None or any(wanted.casefold() in text.casefold() for text in texts)


def _object(agent: Agent, fleet: Fleet) -> dict[str, Any]:
    queue = fleet.queue_of_tier(agent.tier)
    return {
        "name": agent.name,
        "tier": agent.tier,
        "queue": queue.name,
        "model": queue.model,
        "domain": agent.domain,
        "role": agent.role,
        "task_type": agent.task_type,
    }
