"""Users' own agents in Python: a decorated function that makes the prompt, where submit is called.

    @hotset.agent("invoice-reader", tier="balanced", max_tokens=1024, system="You read invoices.")
    def invoice_reader(doc: str) -> str:
        return f"List the positions of this invoice:\\n{doc}"

    client.submit(invoice_reader, doc)          # one argument
    client.submit(invoice_reader(doc, lang="de"))     # any arguments: the call gives a prompt that knows its agent

A function whose first parameter is `ctx` gets a `hotset.Context` there from submit, with the agent's memory:

    @hotset.agent("invoice-reader", tier="balanced")
    def invoice_reader(ctx: hotset.Context, doc: str) -> str:
        known = "\\n".join(m.text for m in ctx.memory.search(doc))
        return f"{known}\\n\\nList the positions of this invoice:\\n{doc}"

No user code runs on GPU workers: the declaration travels with each job and is fixed when the job is accepted.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec

from hotset.agents.agent import Agent, TaskType
from hotset.agents.agents_file import check_agent
from hotset.agents.hints import near_or_all
from hotset.errors import InvalidCatalogue, InvalidJob

P = ParamSpec("P")

_DOMAIN = "own"
_CONTEXT = "ctx"
_NAMES = ("tier", "system", "task_type", "max_tokens", "temperature", "role")


class OwnPrompt(str):
    """A prompt that an own agent's function made. It is a text; `declared` says for which agent."""

    __slots__ = ("declared",)
    declared: Agent

    def __new__(cls, text: str, declared: Agent) -> OwnPrompt:
        self = super().__new__(cls, text)
        self.declared = declared
        return self


class OwnAgent(Generic[P]):
    """A declared agent. Calling it calls the function and gives its prompt, a text."""

    def __init__(self, declared: Agent, function: Callable[P, str]) -> None:
        functools.update_wrapper(self, function)
        self.declared = declared
        #: Whether the function's first parameter is `ctx`.
        self.wants_context = next(iter(inspect.signature(function).parameters), None) == _CONTEXT
        self._function = function

    @property
    def name(self) -> str:
        return self.declared.name

    def made(self, context: Callable[[str], object], *args: Any) -> OwnPrompt:
        """The prompt, with what `context` gives for the agent's name before the arguments if the function wants it."""
        called: Callable[..., OwnPrompt] = self
        return called(context(self.name), *args) if self.wants_context else called(*args)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> OwnPrompt:
        """The prompt. A `ctx` is given like any argument: `client.context(agent)` makes one.

        Raises InvalidJob when the function gives no text; what it raises itself is let through.
        """
        text = self._function(*args, **kwargs)
        if not isinstance(text, str):
            raise InvalidJob(
                f"The function of agent {self.name!r} gave a {type(text).__name__}.", remedy="Let it return a text."
            )
        return OwnPrompt(text, self.declared)

    def __repr__(self) -> str:
        return f"<agent {self.name}>"


def agent(
    name: str,
    *,
    tier: str,
    system: str | None = None,
    task_type: TaskType = "default",
    max_tokens: int | None = None,
    temperature: float | None = None,
    role: str | None = None,
    **unknown: object,
) -> Callable[[Callable[P, str]], OwnAgent[P]]:
    """Declare an agent of your own; the decorated function makes its prompts.

    `role` is the first line of the function's docstring unless given, `system` says name and role unless given. Which
    tiers there are the fleet says, at submit; so it does when the catalogue has an agent of that name.
    Raises InvalidCatalogue for a value that no agent may have.
    """
    place = f"@hotset.agent({name!r})"
    for key in unknown:
        raise InvalidCatalogue(f"{place}: there is no parameter {key!r}.", remedy=near_or_all(key, _NAMES))

    def declare(function: Callable[P, str]) -> OwnAgent[P]:
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise InvalidCatalogue(
                f"{place}: it decorates no plain function.", remedy="Decorate a function that returns the prompt."
            )
        said = (inspect.getdoc(function) or "").strip().splitlines()
        what = role or (said[0][:500] if said else str(name).replace("-", " "))
        fields: dict[str, Any] = {
            "name": name,
            "tier": tier,
            "domain": _DOMAIN,
            "role": what,
            "task_type": task_type,
            "system": system if system is not None else f"You are {name}: {what}",
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        given = {key: value for key, value in fields.items() if value is not None}
        return OwnAgent(check_agent(given, place), function)

    return declare
