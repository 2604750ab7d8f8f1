"""Reads a YAML list of agents: the packaged catalogue's files and users' own. Errors name file, line, agent and fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from hotset.agents.agent import LONGEST_SYSTEM, MOST_TOKENS, Agent
from hotset.agents.hints import near_or_all
from hotset.errors import InvalidCatalogue

# The C loader reads the catalogue in a tenth of the time; a build of PyYAML without it still works.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_CHECK = TypeAdapter(Agent)
_FIXES = {
    "name": "Use 1 to 100 of a-z, 0-9 and '-', beginning with a letter or digit.",
    "tier": "Name the tier of one of the fleet's queues.",
    "domain": "Give a text of 1 to 500 characters.",
    "role": "Give a text of 1 to 500 characters.",
    "task_type": "Give code, creative, analysis or default.",
    "system": f"Give the system prompt, 1 to {LONGEST_SYSTEM} characters; `system: >-` begins a long one.",
    "max_tokens": f"Give a whole number from 1 to {MOST_TOKENS}, or leave it out.",
    "temperature": "Give a number from 0 to 2, or leave it out.",
}
_REPLACES = "replaces"


@dataclass(frozen=True, slots=True)
class Entry:
    """One agent of a file. `place` is where it stands, for errors; `replaces` whether it may stand in for another."""

    agent: Agent
    place: str
    replaces: bool = False


def read_agents(text: str, source: str, *, tier: str | None = None) -> tuple[Entry, ...]:
    """The agents of a YAML text; `source` names it in errors. With `tier` every agent has it and none may name one.

    An empty text has no agents. Raises InvalidCatalogue.
    """
    given = frozenset() if tier is None else {"tier", _REPLACES}
    keys = (*(k for k in _FIXES if k not in given), *(() if tier else (_REPLACES,)))
    entries: dict[str, Entry] = {}
    for line, row, repeated in _rows(text, source):
        place = f"{source}, line {line}"
        if not isinstance(row, dict):
            raise InvalidCatalogue(f"{place}: this is not an agent.", remedy="Begin each with `- name: ...`.")
        place += f", agent {row.get('name')!r}" if "name" in row else ""
        if repeated:
            raise InvalidCatalogue(f"{place}: {repeated!r} is given twice.", remedy="Remove one of the two.")
        for key in row:
            if key not in keys:
                raise InvalidCatalogue(f"{place}: there is no key {key!r}.", remedy=near_or_all(str(key), keys))
        entry = _entry(row, place, tier)
        if entry.agent.name in entries:
            first = entries[entry.agent.name].place
            raise InvalidCatalogue(f"{place}: the name is taken ({first}).", remedy="Rename or remove one of the two.")
        entries[entry.agent.name] = entry
    return tuple(entries.values())


def _entry(row: Mapping[str, Any], place: str, tier: str | None) -> Entry:
    fields = {k: v for k, v in row.items() if k != _REPLACES}
    replaces = row.get(_REPLACES, False)
    if not isinstance(replaces, bool):
        raise InvalidCatalogue(f"{place}: {_REPLACES}: this is not true or false.", remedy="Give true or false.")
    if tier is not None:
        fields["tier"] = tier
    return Entry(check_agent(fields, place), place, replaces)


def check_agent(fields: Mapping[str, Any], place: str) -> Agent:
    """The agent of these values. Raises InvalidCatalogue, which names `place`, the first bad value and the fix."""
    try:
        return _CHECK.validate_python(fields)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        key = str(first["loc"][0])
        said = "it is missing" if key not in fields else first["msg"]
        raise InvalidCatalogue(f"{place}: {key}: {said}.", remedy=_FIXES[key]) from None


def _rows(text: str, source: str) -> Iterator[tuple[int, Any, str | None]]:
    """Line, value and a key given twice (YAML would take the last in silence) of each item."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        # Before the rows are made: that writes merged keys into the nodes.
        repeated = [_repeated(item) for item in node.value] if isinstance(node, yaml.SequenceNode) else []
        rows = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as e:
        line = f", line {e.problem_mark.line + 1}" if e.problem_mark else ""
        raise InvalidCatalogue(f"{source}{line}: {e.problem or 'this is not YAML'}.", remedy="Mend the YAML.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise InvalidCatalogue(f"{source}: {e}.", remedy="Mend the YAML.") from None
    finally:
        loader.dispose()
    if rows is None:
        return
    if not isinstance(rows, list):
        raise InvalidCatalogue(f"{source}: this is not a list of agents.", remedy="Begin each with `- name: ...`.")
    for item, row, key in zip(node.value, rows, repeated, strict=True):
        yield item.start_mark.line + 1, row, key


def _repeated(item: yaml.Node) -> str | None:
    seen: set[str] = set()
    keys = item.value if isinstance(item, yaml.MappingNode) else ()
    for key in (key for key, _ in keys if isinstance(key, yaml.ScalarNode)):
        if key.value in seen:
            return str(key.value)
        seen.add(key.value)
    return None
