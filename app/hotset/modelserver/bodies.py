"""Requests as Ollama reads them: bodies of JSON become frozen asks, or a refusal in its words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hotset.modelserver.keep_alive import parse_keep_alive
from hotset.modelserver.refusals import Refusal
from hotset.modelserver.tools import parse_tools

_GO_TYPES = {str: "string", bool: "bool", list: "array", dict: "object", int: "number", float: "number"}
_MOST_INPUTS = 2048  # Ollama has no such limit; each costs this server a vector
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for words. `text` is all that the model reads; `empty`: it is a mere load or unload.

    `raw_conflict`: it says `raw` beside what that excludes. `tools`: the functions that the answer may call; none if a
    tool has just answered.
    """

    model: str
    text: str
    empty: bool
    chat: bool
    stream: bool
    think: bool | None
    shape: str | dict[str, Any] | None
    keep_alive_s: float | None
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    raw_conflict: bool = False
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class EmbedAsk:
    model: str
    inputs: tuple[str, ...]
    truncate: bool
    keep_alive_s: float | None
    dimensions: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


def parse_json(raw: bytes) -> dict[str, Any]:
    if not raw.strip():
        raise Refusal(400, "missing request body")
    try:
        body = json.loads(raw.decode(errors="replace"), parse_constant=_no_number)
        if b"\\ud" in raw.lower():
            body = _mended(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"invalid JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refusal(400, f"json: cannot unmarshal {_GO_TYPES.get(type(body), 'null')} into Go value of type object")
    return body


def parse_generate(body: Mapping[str, Any]) -> Ask:
    prompt = _get(body, "prompt", str, "")
    system = _get(body, "system", str, "")
    suffix = _get(body, "suffix", str, "")
    template = _get(body, "template", str, "")
    context = _get(body, "context", list, [])
    _get(body, "images", list, [])
    return Ask(
        model=_get(body, "model", str, ""),
        text="\n".join(part for part in (system, prompt, suffix) if part),
        empty=prompt == "",
        chat=False,
        needs=("insert",) if suffix else (),
        raw_conflict=_get(body, "raw", bool, False) and bool(template or system or context),
        **_common(body),
    )


def parse_chat(body: Mapping[str, Any]) -> Ask:
    model = _get(body, "model", str, "")
    messages = _get(body, "messages", list, [])
    if not all(map(_is_message, messages)):
        raise Refusal(400, "json: cannot unmarshal into Go struct field ChatRequest.messages of type api.Message")
    if not model:
        raise Refusal(400, "model is required")
    text = "\n".join(f"{m.get('role', '')}: {m.get('content') or ''}" for m in messages)
    tools = parse_tools(_get(body, "tools", list, []))
    return Ask(
        model=model,
        text=text,
        empty=not messages,
        chat=True,
        needs=("tools",) if tools else (),
        tools=tools if messages and messages[-1].get("role") == "user" else (),
        **_common(body),
    )


def parse_embed(body: Mapping[str, Any]) -> EmbedAsk:
    given = body.get("input")
    inputs = [] if given is None or given == "" else [given] if isinstance(given, str) else given
    if not isinstance(inputs, list) or not all(isinstance(text, str) for text in inputs):
        raise Refusal(400, "invalid input type")
    if len(inputs) > _MOST_INPUTS:
        raise Refusal(400, f"at most {_MOST_INPUTS} inputs are simulated")
    return EmbedAsk(
        model=_get(body, "model", str, ""),
        inputs=tuple(inputs),
        truncate=_get(body, "truncate", bool, True),
        keep_alive_s=parse_keep_alive(body.get("keep_alive")),
        dimensions=max(0, _get(body, "dimensions", int, 0)),
        options=_get(body, "options", dict, {}),
    )


def parse_old_embed(body: Mapping[str, Any]) -> EmbedAsk:
    """`/api/embeddings`, the older route: one `prompt`."""
    model, prompt = _get(body, "model", str, ""), _get(body, "prompt", str, "")
    if not model:
        raise Refusal(400, "model is required")
    return parse_embed({**body, "input": prompt, "truncate": True, "dimensions": 0})


def _common(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stream": _get(body, "stream", bool, True),
        "think": _think(body.get("think")),
        "shape": _shape(body.get("format")),
        "keep_alive_s": parse_keep_alive(body.get("keep_alive")),
        "options": _get(body, "options", dict, {}),
    }


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name) or "", str) for name in ("role", "content"))


def _get(body: Mapping[str, Any], name: str, kind: type[Any], default: Any) -> Any:
    """A field of that type; absent and null are the default, as in Go."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        said = _GO_TYPES.get(type(value), "value")
        raise Refusal(400, f"json: cannot unmarshal {said} into Go struct field .{name} of type {_GO_TYPES[kind]}")
    return value


def _think(value: object) -> bool | None:
    """True, false or how hard ("high", "medium", "low"), which is all one to us."""
    if value is None or isinstance(value, bool):
        return value
    if value in ("max", "high", "medium", "low"):
        return True
    choice = '"high", "medium", "low", "max", true, or false)'
    if isinstance(value, str):
        raise Refusal(400, f'invalid think value: "{value}" (must be {choice}')
    raise Refusal(400, f"think must be a boolean or string ({choice}")


def _shape(value: object) -> str | dict[str, Any] | None:
    if value is None or value == "":
        return None
    if isinstance(value, dict):
        return value
    if value == "json":
        return "json"
    raise Refusal(500, f'invalid format: {json.dumps(value)}; expected "json" or a valid JSON Schema object')


def _no_number(name: str) -> None:
    """Python reads NaN and Infinity, which are not JSON."""
    raise ValueError(f"{name} is not JSON")


def _mended(value: Any) -> Any:
    """Halves of surrogate pairs become U+FFFD, as in Go: they are in no text that can be sent."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(item) for name, item in value.items()}
    return value
