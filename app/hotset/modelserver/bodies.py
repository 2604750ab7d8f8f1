"""Requests as Ollama reads them: bodies of JSON become frozen asks, or a refusal in its words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hotset.modelserver.keep_alive import parse_keep_alive
from hotset.modelserver.refusals import Refusal

_GO_TYPES = {str: "string", bool: "bool", list: "array", dict: "object", int: "number", float: "number"}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for words. `text` is all that the model reads; `empty`: it is a mere load or unload."""

    model: str
    text: str
    empty: bool
    chat: bool
    stream: bool
    think: bool | None
    shape: str | dict[str, Any] | None
    keep_alive_s: float | None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmbedAsk:
    model: str
    inputs: tuple[str, ...]
    single: bool
    truncate: bool
    keep_alive_s: float | None
    options: Mapping[str, Any] = field(default_factory=dict)


def parse_json(raw: bytes) -> dict[str, Any]:
    if not raw.strip():
        raise Refusal(400, "missing request body")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"invalid JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refusal(400, f"json: cannot unmarshal {_GO_TYPES.get(type(body), 'null')} into Go value of type object")
    return body


def parse_generate(body: Mapping[str, Any]) -> Ask:
    prompt = _get(body, "prompt", str, "")
    system = _get(body, "system", str, "")
    return Ask(
        model=_get(body, "model", str, ""),
        text=f"{system}\n{prompt}" if system else prompt,
        empty=prompt == "",
        chat=False,
        **_common(body),
    )


def parse_chat(body: Mapping[str, Any]) -> Ask:
    model = _get(body, "model", str, "")
    messages = _get(body, "messages", list, [])
    if not all(isinstance(message, dict) for message in messages):
        raise Refusal(400, "json: cannot unmarshal into Go struct field ChatRequest.messages of type api.Message")
    if not model:
        raise Refusal(400, "model is required")
    text = "\n".join(f"{m.get('role', '')}: {m.get('content') or ''}" for m in messages)
    return Ask(model=model, text=text, empty=not messages, chat=True, **_common(body))


def parse_embed(body: Mapping[str, Any]) -> EmbedAsk:
    given = body.get("input")
    inputs = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(inputs, list) or not all(isinstance(text, str) for text in inputs):
        raise Refusal(400, "invalid input type")
    return EmbedAsk(
        model=_get(body, "model", str, ""),
        inputs=tuple(inputs),
        single=isinstance(given, str),
        truncate=_get(body, "truncate", bool, True),
        keep_alive_s=parse_keep_alive(body.get("keep_alive")),
        options=_get(body, "options", dict, {}),
    )


def _common(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stream": _get(body, "stream", bool, True),
        "think": _think(body.get("think")),
        "shape": _shape(body.get("format")),
        "keep_alive_s": parse_keep_alive(body.get("keep_alive")),
        "options": _get(body, "options", dict, {}),
    }


def _get(body: Mapping[str, Any], name: str, kind: type[Any], default: Any) -> Any:
    """A field of that type; absent and null are the default, as in Go."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        said = _GO_TYPES.get(type(value), "value")
        raise Refusal(400, f"json: cannot unmarshal {said} into Go struct field .{name} of type {_GO_TYPES[kind]}")
    return value


def _think(value: object) -> bool | None:
    """True, false or how hard ("high", "medium", "low"), which is all one to us."""
    if value is None or isinstance(value, bool):
        return value
    if value in ("high", "medium", "low"):
        return True
    raise Refusal(400, f'invalid think value: "{value}" (must be "high", "medium", "low", true, or false)')


def _shape(value: object) -> str | dict[str, Any] | None:
    if value is None or value == "":
        return None
    if isinstance(value, dict):
        return value
    if value == "json":
        return "json"
    raise Refusal(500, f'invalid format: {json.dumps(value)}; expected "json" or a valid JSON Schema object')
