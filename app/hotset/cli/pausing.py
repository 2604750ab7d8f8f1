"""Pause and resume, of queues and of GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hotset.cli.output import note, print_json

if TYPE_CHECKING:
    from hotset.store.pauses import Kind

Reason = Annotated[str, typer.Option(help="Kept with the pause and in the audit.")]


def pause_one(kind: Kind, name: str, reason: str, *, as_json: bool) -> None:
    from hotset.client import Client

    with Client() as client:
        changed = client.pause(kind, name, reason=reason)
    _say(kind, name, paused=True, changed=changed, as_json=as_json)


def resume_one(kind: Kind, name: str, *, as_json: bool) -> None:
    from hotset.client import Client

    with Client() as client:
        changed = client.resume(kind, name)
    _say(kind, name, paused=False, changed=changed, as_json=as_json)


def _say(kind: str, name: str, *, paused: bool, changed: bool, as_json: bool) -> None:
    if as_json:
        print_json({"kind": kind, "name": name, "paused": paused, "changed": changed})
        return
    what = f"{'GPU' if kind == 'gpu' else 'Queue'} {name}"
    if not changed:
        note(f"{what} {'is paused already' if paused else 'was not paused'}.")
    elif paused:
        note(f"{what} is paused: nothing more starts within two seconds; what runs ends. `resume` ends the pause.")
    else:
        note(f"{what} goes on.")
