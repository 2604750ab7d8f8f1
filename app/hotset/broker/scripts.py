"""The Lua scripts of this room, as text."""

from __future__ import annotations

from importlib import resources


def lua(*names: str) -> str:
    """The text of `lua/{name}.lua`, one after the other: `fair` holds what the scripts of the lanes share."""
    folder = resources.files(__package__) / "lua"
    return "".join((folder / f"{name}.lua").read_text("utf-8") for name in names)
