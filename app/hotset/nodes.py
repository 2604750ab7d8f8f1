"""A YAML file as a tree of nodes that know their lines, so that every error names file, line and fix."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from hotset.errors import UsageError, did_you_mean


class NodeFile:
    """One file; `what` says in errors what kind it is, `refusal` is the error's class."""

    refusal: type[UsageError] = UsageError

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._what = what

    def error(self, node: yaml.Node | int, what: str, fix: str) -> UsageError:
        line = node if isinstance(node, int) else node.start_mark.line + 1
        return self.refusal(f"{self.path}:{line}: {what};", remedy=fix[0].lower() + fix[1:])

    def root(self) -> yaml.Node:
        """The top of the file. Raises UsageError if it cannot be read or is not YAML."""
        try:
            root = yaml.compose(self.path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (OSError, UnicodeDecodeError) as error:
            raise self.refusal(
                f"{self.path} cannot be read: {error}.", remedy=f"Give the path of {self._what}, UTF-8 text."
            ) from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self.error(
                mark.line + 1 if mark else 1,
                f"not YAML: {error.problem or error.context}",
                "Mend the line; YAML indents with spaces.",
            ) from None
        except (yaml.YAMLError, RecursionError) as error:
            raise self.error(1, f"not YAML: {' '.join(str(error).split())}", "Write plain text.") from None
        if root is None:
            raise self.error(1, "the file is empty", f"Write {self._what}.")
        return root

    def mapping(self, node: yaml.Node, what: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key -> (the key's node, the value's)."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{what} is not a mapping", "Write `key: value` pairs.")
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                raise self.error(key, f"a key of {what} is not a name", "Write `name: value`.")
            if key.value in found:
                raise self.error(key, f"{key.value!r} is given twice in {what}", "Keep one of the two.")
            found[key.value] = (key, value)
        return found

    def settings(self, node: yaml.Node, what: str, known: Iterable[str]) -> dict[str, yaml.Node]:
        """A mapping of which all keys are known."""
        names = list(known)
        found = self.mapping(node, what)
        for name, (key, _) in found.items():
            if name not in names:
                hint = did_you_mean(name, names, "")
                fix = hint if hint.startswith("Did") else f"The settings are {', '.join(names)}."
                raise self.error(key, f"{what} has no setting {name!r}", fix)
        return {name: value for name, (_, value) in found.items()}

    def scalar(self, node: yaml.Node) -> Any:
        """What YAML makes of it; None for what is no scalar."""
        if not isinstance(node, yaml.ScalarNode):
            return None
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError):
            return None

    def number(self, node: yaml.Node, what: str, example: str, *, zero: bool = False) -> float:
        """A finite number above zero; `zero`: or zero."""
        value = self.scalar(node)
        low = 0 if zero else math.ulp(0.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < 1e12:
            shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else "not a single value"
            fix = f"Write a number {'of 0 or more' if zero else 'above zero'}, such as `{example}`."
            raise self.error(node, f"{what} is {shown}", fix)
        return float(value)
