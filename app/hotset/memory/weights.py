"""The numbers that `python -m hotset.lab.memory_fit` found, as it wrote them to `weights.json`."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources


@cache
def fitted(model: str, names: tuple[str, ...]) -> tuple[float, ...]:
    """The weights of a model, in the order of these names."""
    found = json.loads((resources.files(__package__) / "weights.json").read_text("utf-8"))[model]
    return tuple(found[name] for name in names)
