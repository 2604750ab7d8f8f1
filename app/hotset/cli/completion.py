"""`hotset completion`, and what the shell may complete: names from files, never from a database."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from hotset.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from hotset.fleet import Fleet

#: Set by the shell's script when it asks for completions.
_ASKED = "_HOTSET_COMPLETE"
_SHELLS = ("bash", "zsh", "fish")
_WHERE = {
    "bash": 'eval "$(hotset completion bash)"      # in ~/.bashrc',
    "zsh": 'eval "$(hotset completion zsh)"       # in ~/.zshrc, after compinit',
    "fish": "hotset completion fish | source       # in ~/.config/fish/config.fish",
}


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Print the script that completes commands.")(completion)


def init() -> None:
    """Called before the commands are parsed: a shell that asks for completions gets them."""
    if _ASKED in os.environ:
        from typer._completion_classes import completion_init

        completion_init()


def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="The shell.")],
    as_json: AsJson = False,
) -> None:
    """Print the script that lets a shell complete commands, options, agents, queues and GPUs.

    \b
    Example:  eval "$(hotset completion bash)"      # in ~/.bashrc
              eval "$(hotset completion zsh)"       # in ~/.zshrc, after compinit
              hotset completion fish | source       # in ~/.config/fish/config.fish
    """
    from typer._completion_shared import get_completion_script

    from hotset.errors import UsageError

    if shell not in _SHELLS:
        raise UsageError(f"There is no script for {shell!r}.", remedy=f"There are {', '.join(_SHELLS)}.")
    script = get_completion_script(prog_name="hotset", complete_var=_ASKED, shell=shell)
    if as_json:
        print_json({"shell": shell, "script": script, "use": _WHERE[shell]})
    else:
        typer.echo(script)


def complete_agents(incomplete: str) -> Iterator[tuple[str, str]]:
    """Agents with their roles."""
    with _quietly():
        from hotset.agents import load_registry
        from hotset.settings import load_settings

        for agent in load_registry(_fleet(), load_settings().agents):
            if agent.name.startswith(incomplete):
                yield agent.name, agent.role


def complete_queues(incomplete: str) -> Iterator[tuple[str, str]]:
    """Queues with their models."""
    with _quietly():
        yield from ((q.name, q.model) for q in _fleet().queues.values() if q.name.startswith(incomplete))


def complete_gpus(incomplete: str) -> Iterator[tuple[str, str]]:
    with _quietly():
        yield from ((g.name, f"{g.vram_mb:,.0f} MiB") for g in _fleet().gpus if g.name.startswith(incomplete))


def complete_tiers(incomplete: str) -> Iterator[tuple[str, str]]:
    with _quietly():
        yield from ((q.tier, q.model) for q in _fleet().queues.values() if q.tier.startswith(incomplete))


def complete_states(incomplete: str) -> Iterator[str]:
    from hotset.jobs import State

    yield from (name for name in (*State, "open", "waiting", "ended") if name.startswith(incomplete))


def _fleet() -> Fleet:
    from hotset.cli.fleet import the_fleet
    from hotset.settings import load_settings

    return the_fleet(load_settings())


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Wrong settings complete nothing; the command itself says what is wrong with them."""
    from hotset.errors import HotsetError

    with contextlib.suppress(HotsetError, OSError):
        yield
