"""`hotset queues`: what waits where; pause and resume."""

from __future__ import annotations

from typing import Annotated

import typer

from hotset.cli.completion import complete_queues
from hotset.cli.output import AsJson, print_json, seconds, table
from hotset.cli.pausing import Reason, pause_one, resume_one

Queue = Annotated[str, typer.Argument(metavar="QUEUE", help="A queue of the fleet.", autocompletion=complete_queues)]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None, help="The queues: what waits; pause.")
    group.callback()(bare)
    group.command("list")(list_queues)
    group.command("pause")(pause)
    group.command("resume")(resume)
    app.add_typer(group, name="queues")


def bare(context: typer.Context, as_json: AsJson = False) -> None:
    """What waits where; pause and resume. Without a command the queues are listed."""
    if context.invoked_subcommand is None:
        list_queues(as_json)


def list_queues(as_json: AsJson = False) -> None:
    """List the queues: waiting jobs by priority, the oldest wait (model seconds), deadlines missed within a day.

    A deadline is missed when a run starts after it, or when it passes while the job still waits.

    \b
    Example:  hotset queues
              hotset queues list --json
    """
    from hotset.cli.now import queues_now
    from hotset.client import Client

    with Client() as client:
        found = queues_now(client)
    if as_json:
        print_json(found)
        return
    priorities = list(found[0]["by_priority"]) if found else []
    rows = [
        (
            q["name"],
            q["model"],
            *(q["by_priority"][p] for p in priorities),
            q["scheduled"] + q["blocked"],
            q["running"],
            seconds(q["oldest_wait_s"]),
            q["deadline_missed"],
            "" if q["paused"] is None else f"paused {q['paused']['reason']}".strip(),
        )
        for q in found
    ]
    head = ("queue", "model", *priorities, "not yet due", "running", "oldest wait s", "missed", "")
    typer.echo(table(head, rows))


def pause(name: Queue, reason: Reason = "", as_json: AsJson = False) -> None:
    """Start no more jobs of a queue, on any GPU; what runs ends. It lasts until `resume`, through any restart.

    \b
    Example:  hotset queues pause deepseek --reason "the new quantisation is on its way"
    """
    pause_one("queue", name, reason, as_json=as_json)


def resume(name: Queue, as_json: AsJson = False) -> None:
    """Let a paused queue's jobs start again.

    \b
    Example:  hotset queues resume deepseek
    """
    resume_one("queue", name, as_json=as_json)
