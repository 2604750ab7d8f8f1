"""Tool calls: what the model would have called, with arguments that fit, so that programs with tools can be rehearsed.

A simulated model calls a tool whenever it may and the user has just spoken; once a tool has answered it speaks.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from hotset.modelserver.refusals import Refusal
from hotset.modelserver.shapes import fill


def parse_tools(given: Sequence[Any]) -> tuple[Mapping[str, Any], ...]:
    """The functions of a request's `tools`."""
    functions: list[Mapping[str, Any]] = []
    for tool in given:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Refusal(400, "json: cannot unmarshal into Go struct field ChatRequest.tools of type api.Tool")
        functions.append(function)
    return tuple(functions)


def call(functions: Sequence[Mapping[str, Any]], rng: random.Random) -> dict[str, Any]:
    """A call of one of them. ValueError if its parameters are not a JSON schema."""
    function = rng.choice(functions)
    parameters = function.get("parameters")
    arguments = fill(parameters, rng) if isinstance(parameters, dict) else {}
    return {
        "id": f"call_{rng.getrandbits(32):08x}",
        "function": {
            "index": 0,
            "name": function["name"],
            "arguments": arguments if isinstance(arguments, dict) else {},
        },
    }
