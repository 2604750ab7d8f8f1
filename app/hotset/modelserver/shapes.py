"""A value that fits a JSON schema: enough of the language for what agents ask (types, enums, references, unions)."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

MARK = "[simulated]"
_DEPTH = 12  # a schema that refers to itself ends here,
_VALUES = 2000  # and one that branches as it does so here
_WEIGHT = 50  # so many characters of the schema's own that are written count as a value
_LENGTH = 200  # the most items, and characters, that a schema can make us write


def fill(shape: str | Mapping[str, Any], rng: random.Random) -> Any:
    """For "json" any object; for a schema a small value of it, with the mark in its strings.

    ValueError if the schema makes no sense.
    """
    if isinstance(shape, str):
        return {"simulated": True, "answer": MARK}
    try:
        return _Filling(shape, rng).value(shape, 0)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(f"not a JSON schema: {error}") from error


class _Filling:
    def __init__(self, root: Mapping[str, Any], rng: random.Random) -> None:
        self._root = root
        self._rng = rng
        self._left = _VALUES

    def value(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, Mapping) or depth > _DEPTH or self._left < 0:
            return None
        if "const" in schema:
            return self._weighed(schema["const"])
        if schema.get("enum"):
            return self._weighed(self._rng.choice(schema["enum"]))
        if "$ref" in schema:
            return self.value(self._follow(schema["$ref"]), depth + 1)
        for union in ("anyOf", "oneOf"):
            if schema.get(union):
                return self.value(schema[union][0], depth + 1)
        if schema.get("allOf"):
            properties: dict[str, Any] = {}
            for part in schema["allOf"]:
                properties |= part.get("properties", {})
            return self.value({**schema["allOf"][0], "properties": properties}, depth + 1)
        return self._of_type(schema, depth)

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) else kind
        match kind:
            case "object":
                properties = schema.get("properties", {}).items()
                return {
                    self._weighed(name): self.value(inner, depth + 1) for name, inner in properties if self._left >= 0
                }
            case "array":
                count = min(int(schema.get("minItems", 1)), _LENGTH)
                return [self.value(schema.get("items", {}), depth + 1) for _ in range(count)]
            case "integer" | "number":
                return self._number(schema, whole=kind == "integer")
            case "boolean":
                return self._rng.random() < 0.5
            case "null":
                return None
        text = MARK.ljust(min(int(schema.get("minLength", 0)), _LENGTH), ".")
        return text[: int(schema.get("maxLength", _LENGTH))]

    def _weighed(self, value: Any) -> Any:
        """What the schema itself says, and may say again and again."""
        self._left -= len(value if isinstance(value, str) else json.dumps(value)) // _WEIGHT
        return value

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", max(low, 0) + 100))
        value = float(low + (high - low) * (0.25 + 0.5 * self._rng.random()))
        return round(value) if whole else round(value, 3)

    def _follow(self, reference: str) -> Any:
        here: Any = self._root
        for step in reference.removeprefix("#").split("/"):
            here = here[step] if step else here
        return here
