"""Flows: steps put together with chain, group and chord, and what becomes of them. Frozen data and pure functions.

A flow is a tree: its leaves are steps, a chain runs its parts one after the other, a group all at once. `expand` turns
it into a list of steps with what each depends upon, in an order in which every step comes after its dependencies.

`{prev}` in a step's prompt stands for the answer of the step before. The placeholder is what stands between braces, so
doubled braces are the literal text, as in Python's own formatting: `{{prev}}` reads `{prev}`. No other braces mean
anything, and those of an answer never do.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, SupportsIndex
from uuid import UUID

from hotset.errors import InvalidJob, did_you_mean
from hotset.jobs.job import JOB_OPTIONS
from hotset.jobs.states import State

#: Jobs of a flow, levels of nesting, and dependencies: two groups of 200 in a row have 40,000.
MOST_JOBS = 10_000
MOST_LEVELS = 100
MOST_DEPENDENCIES = 50_000

#: What a step may be given beside agent and prompt: the names of `Client.submit`.
STEP_OPTIONS = (*JOB_OPTIONS, "stream")

PromptOf = Callable[[Any], str]


class Flow:
    """What `client.submit` takes as a whole: a Chain, a Group or a Step."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Step(Flow):
    """One job to be. `prompt` is a text, or a function of the answer before that is called at submit (see `Prev`)."""

    agent: Any
    prompt: Any
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chain(Flow):
    """One part after the other. After a group, the next part waits for all of the group."""

    parts: tuple[Flow, ...]


@dataclass(frozen=True, slots=True)
class Group(Flow):
    """All parts at once."""

    parts: tuple[Flow, ...]


def step(agent: Any, prompt: str | PromptOf | None = None, **options: Any) -> Step:
    """A step of a flow: an agent's name (or an own agent), a prompt, and options as `Client.submit` takes them.

    In the prompt of a step that follows others, `{prev}` is their answer, `{prev[0]}` that of the first. Or give
    a function, `lambda prev: f"Review this: {prev}"`: it is called at submit with a text that stands for the answer.
    Raises InvalidJob for an option that a step does not have.
    """
    if not isinstance(agent, str) and not hasattr(agent, "declared"):
        raise InvalidJob(f"The agent of a step is a {type(agent).__name__}.", remedy="Give its name, or an own agent.")
    if prompt is None and type(agent) is str:
        raise InvalidJob(f"The step of agent {agent[:80]!r} has no prompt.", remedy="hotset.step(agent, prompt)")
    if type(agent) is str and not isinstance(prompt, str) and not callable(prompt):
        raise InvalidJob(f"The prompt of a step is a {type(prompt).__name__}.", remedy="Give a text or a function.")
    for name in options:
        if name == "idempotency_key":
            raise InvalidJob(
                "A step has no idempotency_key of its own.", remedy="Give it to the flow: client.submit(flow, …)."
            )
        if name not in STEP_OPTIONS:
            hint = did_you_mean(name, STEP_OPTIONS, "")
            known = hint if hint.startswith("Did") else f"There are {', '.join(STEP_OPTIONS)}."
            raise InvalidJob(f"A step has no option {name!r}.", remedy=known)
    return Step(agent, prompt, options)


def chain(*parts: Any) -> Chain:
    """Parts that run one after the other: steps, (agent, prompt) pairs, groups, chains. Raises InvalidJob."""
    return Chain(_parts("chain", parts))


def group(*parts: Any) -> Group:
    """Parts that run at the same time: steps, (agent, prompt) pairs, groups, chains. Raises InvalidJob."""
    return Group(_parts("group", parts))


def chord(steps: Iterable[Any], body: Any) -> Chain:
    """A group and what follows when all of it has succeeded: `chain(group(*steps), body)`. Raises InvalidJob."""
    if isinstance(steps, str | Flow) or not isinstance(steps, Iterable):
        raise InvalidJob("A chord takes a list of steps and a body.", remedy="hotset.chord([a, b], body)")
    return Chain((Group(_parts("chord", tuple(steps))), _part("chord", 0, body)))


def _parts(name: str, parts: tuple[Any, ...]) -> tuple[Flow, ...]:
    if len(parts) == 1 and not isinstance(parts[0], Flow | str | tuple | Mapping) and isinstance(parts[0], Iterable):
        parts = tuple(islice(parts[0], MOST_JOBS + 1))
    if not parts:
        raise InvalidJob(f"A {name} without steps.", remedy=f"hotset.{name}(hotset.step(agent, prompt), …)")
    if len(parts) > MOST_JOBS:
        raise InvalidJob(
            f"A {name} of more than {MOST_JOBS:,} steps.", remedy=f"A flow has at most {MOST_JOBS:,} jobs."
        )
    return tuple(_part(name, i, part) for i, part in enumerate(parts, 1))


def _part(name: str, place: int, part: Any) -> Flow:
    if isinstance(part, Flow):
        return part
    if isinstance(part, tuple) and len(part) == 2:
        return step(*part)
    if hasattr(part, "declared"):  # an own agent, or what its function made
        return step(part)
    where = f"Part {place} of the {name}" if place else f"The body of the {name}"
    raise InvalidJob(f"{where} is a {type(part).__name__}.", remedy="Give hotset.step(agent, prompt), or that pair.")


# ---- expansion ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Planned:
    """A step in its place: its number, its path in the tree (`2.1` is the first of the second), its dependencies."""

    number: int
    path: str
    step: Step
    after: tuple[int, ...]


#: The tree as JSON: `{"chain": [...]}`, `{"group": [...]}`, or a step's number.
Shape = int | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in an order in which each comes after its dependencies, and the tree with their numbers as leaves."""

    steps: tuple[Planned, ...]
    shape: Shape


def expand(flow: Flow) -> Plan:
    """The steps of a flow with their dependencies. Raises InvalidJob when it is larger than the limits."""
    steps: list[Planned] = []
    edges = 0

    def place(part: Flow, path: str, after: tuple[int, ...], level: int) -> tuple[Shape, tuple[int, ...]]:
        nonlocal edges
        if level > MOST_LEVELS:
            raise InvalidJob(f"The flow is nested more than {MOST_LEVELS} levels deep.", remedy="Flatten it.")
        if isinstance(part, Step):
            edges += len(after)
            if len(steps) >= MOST_JOBS:
                raise InvalidJob(f"The flow has more than {MOST_JOBS:,} jobs.", remedy="Submit it in parts.")
            if edges > MOST_DEPENDENCIES:
                raise InvalidJob(
                    f"The flow has more than {MOST_DEPENDENCIES:,} dependencies: each step of a group waits for each "
                    "of the group before.",
                    remedy="Put one step between the groups.",
                )
            number = len(steps)
            steps.append(Planned(number, path or "1", part, after))
            return number, (number,)
        shapes: list[Shape] = []
        parts = [(f"{path}.{i}" if path else str(i), child) for i, child in enumerate(_parts_of(part), 1)]
        if isinstance(part, Chain):
            for inner, child in parts:
                shape, after = place(child, inner, after, level + 1)
                shapes.append(shape)
            return {"chain": shapes}, after
        ends: list[int] = []
        for inner, child in parts:
            shape, more = place(child, inner, after, level + 1)
            shapes.append(shape)
            ends += more
        return {"group": shapes}, tuple(ends)

    shape, _ = place(flow, "", (), 0)
    return Plan(tuple(steps), shape)


def _parts_of(part: Flow) -> tuple[Flow, ...]:
    if isinstance(part, Chain | Group):
        return part.parts
    raise InvalidJob(f"A {type(part).__name__} is no part of a flow.", remedy="Use chain, group, chord and step.")


def leaves(shape: Shape) -> Iterator[tuple[str, int]]:
    """Path and number of each step of a tree, in order."""

    def walk(node: Shape, path: str) -> Iterator[tuple[str, int]]:
        if isinstance(node, int):
            yield path or "1", node
            return
        ((_, parts),) = node.items()
        for i, part in enumerate(parts, 1):
            yield from walk(part, f"{path}.{i}" if path else str(i))

    yield from walk(shape, "")


# ---- answers passed on -------------------------------------------------------------------------------------------

_PLACE = re.compile(r"(\{+)prev(?:\[(\d{1,5})\])?(\}+)")


class Prev(str):
    """Stands for the answers of a step's dependencies while its prompt is made.

    As a text it is all of them together; `prev[0]` is the first one, iterating gives each.
    """

    __slots__ = ("_marks",)
    _marks: tuple[str, ...]

    def __new__(cls, token: str, count: int) -> Prev:
        self = super().__new__(cls, f"{token}:")
        self._marks = tuple(f"{token}{i}:" for i in range(count))
        return self

    def __getitem__(self, index: SupportsIndex | slice) -> str:
        if isinstance(index, slice):
            raise TypeError("an answer that is not there yet cannot be cut")
        return self._marks[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._marks)

    def __len__(self) -> int:
        return len(self._marks)


def made_by(function: PromptOf, count: int) -> str:
    """The prompt that a function of `count` answers makes, with `{prev}` in their places and all else literal.

    Raises InvalidJob when it makes no text; what the function itself raises is let through.
    """
    # Nobody can have written it: what the function brings in from elsewhere is never taken for a placeholder.
    token = f"\x02{secrets.token_hex(16)}:"
    text = function(Prev(token, count))
    if not isinstance(text, str):
        raise InvalidJob(f"The prompt function gave a {type(text).__name__}.", remedy="Let it return a text.")
    made = template(str(text), token)
    if token[1:17] in made.casefold():
        raise InvalidJob(
            "The prompt function changed what stands for the answer.",
            remedy="The answer is not there yet when the function is called: it can only be put somewhere.",
        )
    return made


def template(text: str, token: str) -> str:
    """A text with marks (`{token}:` for all answers, `{token}0:` for one) as a prompt with placeholders."""
    mark = re.compile(r"(\{*)" + re.escape(token) + r"(\d*):(\}*)")
    parts: list[str] = []
    end = 0
    for found in mark.finditer(text):
        left, index, right = found.groups()
        both = min(len(left), len(right))
        parts.append(_literal(text[end : found.start()]))
        name = f"prev[{index}]" if index else "prev"
        parts.append("{" * (len(left) + both + 1) + name + "}" * (len(right) + both + 1))
        end = found.end()
    return "".join((*parts, _literal(text[end:])))


def _literal(text: str) -> str:
    """With the braces around every `{prev}` doubled."""

    def doubled(found: re.Match[str]) -> str:
        both = min(len(found[1]), len(found[3]))
        return "{" * both + found[0] + "}" * both

    return _PLACE.sub(doubled, text)


def check_places(prompt: str, count: int) -> None:
    """Raises InvalidJob when a prompt asks for an answer that its step does not get."""
    for found in _PLACE.finditer(prompt):
        if min(len(found[1]), len(found[3])) % 2 and found[2] is not None and int(found[2]) >= count:
            raise InvalidJob(
                f"The prompt asks for {{prev[{found[2]}]}}, and there are {count} answers before it.",
                remedy="They count from 0.",
            )


def places(prompt: str) -> bool:
    """Whether the prompt may hold a placeholder."""
    return _PLACE.search(prompt) is not None


def fill(prompt: str, answers: Sequence[tuple[str, str]]) -> str:
    """The prompt with the answers (agent, text) in their places; nothing within an answer is looked at."""

    def put(found: re.Match[str]) -> str:
        left, index, right = found.groups()
        both = min(len(left), len(right))
        kept = both // 2
        outer = "{" * (len(left) - both), "}" * (len(right) - both)
        if both % 2 == 0:
            inner = "prev" if index is None else f"prev[{index}]"
        else:
            inner = _joined(answers) if index is None else answers[int(index)][1]
        return outer[0] + "{" * kept + inner + "}" * kept + outer[1]

    return _PLACE.sub(put, prompt)


def _joined(answers: Sequence[tuple[str, str]]) -> str:
    if len(answers) == 1:
        return answers[0][1]
    return "\n\n".join(f"### {i} of {len(answers)}: {agent}\n{text}" for i, (agent, text) in enumerate(answers, 1))


# ---- a flow that runs --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FlowStep:
    """The newest job of a step: enough to decide what a retry replays."""

    number: int
    job: UUID
    state: State
    after: tuple[int, ...]


def flow_state(jobs: Iterable[tuple[State, str | None]]) -> State:
    """What a flow is, from (state, error kind) of its jobs.

    Open: running once a job has run, else what its most advanced job is. Ended: succeeded when all have, else the
    gravest cause; a job that failed for its dependency's sake is no cause.
    """
    found = list(jobs)
    states = [state for state, _ in found]
    if any(state in (State.RUNNING, State.SUCCEEDED) for state in states) and not all(s.terminal for s in states):
        return State.RUNNING
    for state in (State.QUEUED, State.SCHEDULED, State.BLOCKED):
        if state in states:
            return state
    causes = {state for state, kind in found if kind != "DependencyFailed"}
    for state in (State.FAILED, State.QUARANTINED, State.EXPIRED, State.CANCELLED):
        if state in causes:
            return state
    return State.SUCCEEDED if causes == {State.SUCCEEDED} else State.FAILED


def to_replay(steps: Iterable[FlowStep], only: int | None = None) -> tuple[int, ...]:
    """The steps that a retry runs again: those that ended without success; or one, and what failed below it.

    A step is left out when something it depends on has failed and is not replayed: it could never run.
    `steps` are in an order in which each comes after its dependencies.
    """
    chosen: set[int] = set()
    usable: set[int] = set()
    for each in steps:
        lost = each.state.terminal and each.state is not State.SUCCEEDED
        reached = only is None or each.number == only or any(n in chosen for n in each.after)
        if (lost or each.number == only) and reached and all(n in usable for n in each.after):
            chosen.add(each.number)
            usable.add(each.number)
        elif not lost:
            usable.add(each.number)
    return tuple(sorted(chosen))


def drawn(shape: Shape, line: Callable[[str, int], Sequence[str]]) -> str:
    """The tree as text; `line` gives the lines of a step, of which those after the first are its earlier jobs."""
    rows: list[str] = []

    def walk(node: Shape, path: str, first: str, rest: str) -> None:
        if isinstance(node, int):
            for i, text in enumerate(line(path or "1", node)):
                rows.append((first if i == 0 else rest + "   ") + text)
            return
        ((kind, parts),) = node.items()
        rows.append(f"{first}{path + ' ' if path else ''}{kind}")
        for i, part in enumerate(parts, 1):
            last = i == len(parts)
            inner = f"{path}.{i}" if path else str(i)
            walk(part, inner, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))

    walk(shape, "", "", "")
    return "\n".join(rows)
