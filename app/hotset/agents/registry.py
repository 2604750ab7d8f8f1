"""The agents of this installation: the packaged catalogue and users' own, checked against the fleet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources
from pathlib import Path

from hotset.agents.agent import Agent
from hotset.agents.agents_file import Entry, read_agents
from hotset.errors import InvalidCatalogue, UnknownAgent, did_you_mean
from hotset.fleet import Fleet

#: The packaged files, one a tier, in the order in which agents are listed.
CATALOGUE_TIERS = ("complex", "balanced", "light")


class Registry:
    """Agents by name, in the order of catalogue, then own file. Immutable, so that threads may share it.

    Every agent in it is served: some queue of the fleet has its tier. `unserved` are the catalogue's others.
    """

    def __init__(self, agents: Iterable[Agent], unserved: Iterable[Agent] = ()) -> None:
        self._agents = {agent.name: agent for agent in agents}
        self.names = tuple(self._agents)
        self.unserved = tuple(unserved)

    def get(self, name: str) -> Agent:
        """The agent of that name; UnknownAgent, with the nearest names, if there is none that the fleet serves."""
        agent = self._agents.get(name)
        if agent is not None:
            return agent
        error = UnknownAgent(name, self.names)
        for other in self.unserved:
            if other.name == name:
                error.remedy = (
                    f"The catalogue has it, but no queue of the fleet serves its tier {other.tier!r}: add one to the "
                    "fleet file, or replace the agent in your own agents' file with another tier."
                )
        raise error

    def __iter__(self) -> Iterator[Agent]:
        return iter(self._agents.values())

    def __len__(self) -> int:
        return len(self._agents)

    def __contains__(self, name: object) -> bool:
        return name in self._agents


def load_registry(fleet: Fleet, extra: Path | None = None) -> Registry:
    """The catalogue and the agents of the file `extra`, which may replace the catalogue's with `replaces: true`.

    Tiers are configuration: a catalogue agent whose tier no queue serves is left out, since nothing could run it.
    One of `extra` is an error, as is all else that is wrong: InvalidCatalogue names file, line, agent and fix.
    """
    agents = {agent.name: agent for agent in catalogue()}
    for entry in _own(extra) if extra is not None else ():
        _check_own(entry, fleet, agents)
        agents[entry.agent.name] = entry.agent
    tiers = _tiers(fleet)
    return Registry(
        (a for a in agents.values() if a.tier in tiers), (a for a in agents.values() if a.tier not in tiers)
    )


@cache
def catalogue() -> tuple[Agent, ...]:
    """The 131 packaged agents, whatever the fleet."""
    folder = resources.files("hotset.agents") / "catalogue"
    agents: dict[str, Agent] = {}
    for tier in CATALOGUE_TIERS:
        for entry in read_agents((folder / f"{tier}.yaml").read_text("utf-8"), f"{tier}.yaml", tier=tier):
            if entry.agent.name in agents:
                raise InvalidCatalogue(f"{entry.place}: the name is taken in another tier.", remedy="Rename it.")
            agents[entry.agent.name] = entry.agent
    return tuple(agents.values())


def _own(path: Path) -> tuple[Entry, ...]:
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as e:
        raise InvalidCatalogue(f"{path}: byte {e.start} is not UTF-8.", remedy="Save the file as UTF-8.") from None
    except OSError as e:
        raise InvalidCatalogue(
            f"{path}: {e.strerror}.",
            remedy="The setting `agents` names this file: make it, or unset it.",
        ) from None
    return read_agents(text, str(path))


def _check_own(entry: Entry, fleet: Fleet, agents: dict[str, Agent]) -> None:
    name, tiers = entry.agent.name, _tiers(fleet)
    if entry.agent.tier not in tiers:
        raise InvalidCatalogue(
            f"{entry.place}: no queue of the fleet serves tier {entry.agent.tier!r}.",
            remedy=f"Served are: {', '.join(sorted(tiers))}.",
        )
    if name in agents and not entry.replaces:
        raise InvalidCatalogue(
            f"{entry.place}: the catalogue has an agent of that name.",
            remedy="Rename yours, or write `replaces: true` if it shall stand in for the catalogue's.",
        )
    if name not in agents and entry.replaces:
        raise InvalidCatalogue(
            f"{entry.place}: it replaces an agent that the catalogue does not have.",
            remedy=did_you_mean(name, agents, "hotset agents list"),
        )


def _tiers(fleet: Fleet) -> set[str]:
    return {queue.tier for queue in fleet.queues.values()}
