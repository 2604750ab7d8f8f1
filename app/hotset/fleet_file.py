"""Fleet files: YAML in, a checked Fleet out. Every error names file, line and fix.

YAML is composed, not loaded: the tree of nodes keeps the line of each key, and a key written twice is seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from hotset.errors import InvalidFleet, did_you_mean
from hotset.fleet import Fleet, Gpu, Model, Queue

_TOP = {"gpus": True, "models": True, "queues": True, "max_wait_s": False}  # key -> is it needed
_EXAMPLES = {
    "name": "gpu0",
    "vram_mb": "3686",
    "slots": "2",
    "speed": "1.0",
    "address": "http://127.0.0.1:11434",
    "size_mb": "2500",
    "load_s": "5.0",
    "tokens_per_s": "38",
    "context": "4096",
    "model": "tinyllama",
    "tier": "light",
    "deadline_s": "30",
    "run_s": "2.0",
    "max_wait_s": "900",
    "gpus": "[{name: gpu0, vram_mb: 3686}]",
    "models": "{tinyllama: {size_mb: 800, load_s: 2.0}}",
    "queues": "{tinyllama: {model: tinyllama, tier: light, deadline_s: 30, run_s: 2.0}}",
}


def read_fleet(path: str | Path) -> Fleet:
    """The fleet that a file describes. Raises InvalidFleet; the message is `file:line: what; fix`."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidFleet(
            f"There is no fleet file {path}.", remedy="Give the path of one; `hotset init` writes an example."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFleet(
            f"{path} cannot be read: {error}.", remedy="A fleet file is UTF-8 text that you may read."
        ) from None
    return parse_fleet(text, str(path))


def classic_fleet() -> Fleet:
    """One 4 GB GPU with tinyllama, qwen and deepseek: the file `classic.fleet.yaml` of the package."""
    return parse_fleet((files("hotset") / "classic.fleet.yaml").read_text(encoding="utf-8"), "classic.fleet.yaml")


def parse_fleet(text: str, name: str = "fleet.yaml") -> Fleet:
    """As `read_fleet`, from text; `name` stands for the file in errors."""
    return _Reader(name).fleet(text)


_Row = TypeVar("_Row", Gpu, Model, Queue)


class _Reader:
    """Walks the nodes of one file."""

    def __init__(self, name: str) -> None:
        self.name = name

    def error(self, node: yaml.Node | int, what: str, fix: str) -> InvalidFleet:
        line = node if isinstance(node, int) else node.start_mark.line + 1
        return InvalidFleet(f"{self.name}:{line}: {what};", remedy=fix[0].lower() + fix[1:])

    def fleet(self, text: str) -> Fleet:
        root = self._compose(text)
        top = self._mapping(root, "a fleet file")
        self._keys(root, top, _TOP, "the fleet")
        gpus = self._gpus(top["gpus"])
        models = self._named(top["models"], Model, "model")
        queues = self._named(top["queues"], Queue, "queue")
        fleet = Fleet(gpus, models, queues)
        if "max_wait_s" in top:
            fleet = replace(fleet, max_wait_s=self._value(top["max_wait_s"], "max_wait_s", float, "the fleet"))
        self._agree(fleet, top["models"], top["queues"])
        return fleet

    def _compose(self, text: str) -> yaml.Node:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark is not None else 1
            raise self.error(
                line, f"not YAML: {error.problem or error.context}", "Mend the line; YAML indents with spaces."
            ) from None
        except (yaml.YAMLError, RecursionError) as error:
            raise self.error(1, f"not YAML: {' '.join(str(error).split())}", "A fleet file is plain text.") from None
        if root is None:
            raise self.error(1, "the file is empty", "A fleet needs gpus, models and queues.")
        return root

    # ---- parts -------------------------------------------------------------------------------------------

    def _gpus(self, node: yaml.Node) -> tuple[Gpu, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self.error(node, "'gpus' is not a list with a GPU", "Write `- {name: gpu0, vram_mb: 3686}` under it.")
        gpus: dict[str, Gpu] = {}
        for item in node.value:
            gpu = self._row(item, Gpu, {}, "a GPU")
            if gpu.name in gpus:
                raise self.error(item, f"two GPUs are named {gpu.name!r}", "Give each GPU its own name.")
            gpus[gpu.name] = gpu
        return tuple(gpus.values())

    def _named(self, node: yaml.Node, kind: type[_Row], word: str) -> dict[str, _Row]:
        rows = self._mapping(node, f"'{word}s'")
        if not rows:
            raise self.error(node, f"there is no {word}", f"Write at least one under {word}s.")
        return {name: self._row(row, kind, {"name": name}, f"{word} {name!r}") for name, row in rows.items()}

    def _row(self, node: yaml.Node, kind: type[_Row], given: dict[str, Any], what: str) -> _Row:
        values = self._mapping(node, what)
        wanted = {f.name: f for f in fields(kind) if f.name not in given}
        self._keys(node, values, {name: _needed(f) for name, f in wanted.items()}, what)
        read = {key: self._value(value, key, _type(kind, key), what) for key, value in values.items()}
        return kind(**given, **read)

    def _agree(self, fleet: Fleet, models: yaml.Node, queues: yaml.Node) -> None:
        largest = max(fleet.gpus, key=lambda gpu: gpu.vram_mb)
        for name, node in self._mapping(models, "'models'").items():
            size = fleet.models[name].size_mb
            if size > largest.vram_mb:
                raise self.error(
                    node,
                    f"model {name!r} needs {size:g} MiB and the largest GPU, {largest.name}, has {largest.vram_mb:g}",
                    "Give it a smaller quantisation or context, or the fleet a larger GPU.",
                )
        tiers: dict[str, str] = {}
        for name, node in self._mapping(queues, "'queues'").items():
            queue = fleet.queues[name]
            if queue.model not in fleet.models:
                raise self.error(
                    node,
                    f"queue {name!r} runs on {queue.model!r}, which is not among the models",
                    _near(queue.model, fleet.models, f"The models are {', '.join(fleet.models)}."),
                )
            if queue.tier in tiers:
                raise self.error(
                    node,
                    f"queues {tiers[queue.tier]!r} and {name!r} both serve the tier {queue.tier!r}",
                    "Give each queue a tier of its own.",
                )
            tiers[queue.tier] = name

    # ---- nodes -------------------------------------------------------------------------------------------

    def _mapping(self, node: yaml.Node, what: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{what} is not a mapping", "Write `key: value` pairs.")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                raise self.error(key, f"a key of {what} is not a name", "Write `name: value`.")
            if key.value in found:
                raise self.error(key, f"{key.value!r} is given twice in {what}", "Keep one of the two.")
            found[key.value] = value
        return found

    def _keys(self, node: yaml.Node, got: Mapping[str, yaml.Node], known: Mapping[str, bool], what: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, _ in node.value:
                if key.value not in known:
                    fix = _near(key.value, known, f"The keys are {', '.join(known)}.")
                    raise self.error(key, f"{what} has no setting {key.value!r}", fix)
        for key, needed in known.items():
            if needed and key not in got:
                raise self.error(node, f"{what} lacks {key!r}", f"Add `{key}: {_EXAMPLES[key]}`.")

    def _value(self, node: yaml.Node, key: str, kind: Any, what: str) -> Any:
        """The value of a scalar, of that type; numbers are finite and above zero."""
        try:
            if not isinstance(node, yaml.ScalarNode):
                raise ValueError("not a scalar")
            raw: Any = yaml.SafeLoader("").construct_object(node)
            if isinstance(raw, bool) or raw == "":
                raise ValueError("a boolean or empty")
            value = TypeAdapter(kind).validate_python(raw)
            if isinstance(value, int | float) and not (math.isfinite(value) and value > 0):
                raise ValueError("not above zero")
        except (ValidationError, ValueError, yaml.YAMLError):
            shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else "not a single value"
            fix = f"Write {_SORTS.get(kind, 'a text')}, such as `{key}: {_EXAMPLES[key]}`."
            raise self.error(node, f"{key!r} of {what} is {shown}", fix) from None
        return value


_SORTS = {float: "a number above zero", int: "a whole number above zero"}


def _needed(field: Field[Any]) -> bool:
    return field.default is MISSING


def _type(kind: type[Any], key: str) -> Any:
    annotation = kind.__dataclass_fields__[key].type
    return {"float": float, "int": int, "str": str, "str | None": str | None}[annotation]


def _near(word: str, known: Iterable[str], otherwise: str) -> str:
    hint = did_you_mean(word, known, "")
    return hint if hint.startswith("Did") else otherwise
