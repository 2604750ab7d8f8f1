"""All commands, and what becomes of errors: a sentence on standard error and an exit status, no traceback."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from hotset.cli import (
    agents,
    audit,
    backup,
    batch,
    bench,
    completion,
    config,
    demo,
    doctor,
    erase,
    flower,
    gpus,
    jobs,
    memory,
    messages,
    models,
    plan,
    queues,
    replay,
    retain,
    run,
    serve,
    servers,
    simulate,
    status,
    swaps,
    top,
    trace,
    worker,
    workload,
)

app = typer.Typer(
    name="hotset",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Keeps a fleet of LLM agents moving on GPUs too small to hold all their models.\n\n"
        "\b\nSee it at work:     hotset demo\n"
        "Run it:             hotset up; hotset serve --simulate; hotset worker\n"
        'Ask an agent:       hotset run senior-backend-developer "Write a health check."\n\n'
        "Exit status: 0 done, 1 it failed (the reason on standard error), 2 wrong usage, 130 Ctrl-C."
    ),
)


@app.callback()
def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from hotset import __version__

        typer.echo(__version__)
        raise typer.Exit


demo.add_to(app)
servers.add_to(app)
backup.add_to(app)
retain.add_to(app)
erase.add_to(app)
serve.add_to(app)
worker.add_to(app)
run.add_to(app)
batch.add_to(app)
jobs.add_to(app)
messages.add_to(app)
agents.add_to(app)
status.add_to(app)
top.add_to(app)
models.add_to(app)
swaps.add_to(app)
queues.add_to(app)
gpus.add_to(app)
audit.add_to(app)
memory.add_to(app)
doctor.add_to(app)
flower.add_to(app)
simulate.add_to(app)
trace.add_to(app)
workload.add_to(app)
replay.add_to(app)
plan.add_to(app)
bench.add_to(app)
config.add_to(app)
completion.add_to(app)


def main() -> None:
    """Run the command of this process's arguments and end the process."""
    from hotset.errors import HotsetError

    completion.init()
    try:
        app()
    except HotsetError as e:
        _fail(str(e), e.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as e:
        # A file or port that the user named, a full disk: the system's own words are the reason.
        _fail(f"{e.strerror or e}{f': {e.filename}' if e.filename else ''}.", 1)
    except Exception as e:
        from hotset.store.engine import is_forbidden

        if not is_forbidden(e):
            raise
        reason = str(getattr(e, "orig", e)).splitlines()[0]
        _fail(f"This database role may not do that ({reason}). docs/security.md says which one may.", 1)


def _fail(reason: str, status: int) -> NoReturn:
    typer.echo(f"error: {reason}", err=True)
    sys.exit(status)
