"""Profile files: what a simulation knows of models beyond the fleet file. Every error names file, line and fix.

models:
  tinyllama:                                # in the fleet: what is not said here stays as it is there
    answer_tokens: {mean: 180, cv: 0.8}     # log-normal; a number is fixed; a list is drawn from
    first_token_s: 0.05
  mistral:                                  # not in the fleet: needs a size, and is served too
    size_mb: 4400
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from hotset.errors import did_you_mean
from hotset.fleet import Model
from hotset.models.names import canonical
from hotset.modelserver.profiles import (
    CAPABILITIES,
    LOAD_MB_PER_S,
    PREFILL,
    VARIATION,
    Lengths,
    LogNormal,
    Profile,
    Seen,
    profile_of,
)
from hotset.nodes import NodeFile

# Setting -> (an example, may it be zero?)
_OF_MODEL = {
    "size_mb": ("2500", False),
    "load_s": ("5.0", True),
    "tokens_per_s": ("38", False),
    "context": ("4096", False),
}
_OF_PROFILE = {
    "prompt_tokens_per_s": ("950", False),
    "first_token_s": ("0.05", True),
    "unload_s": ("0.8", True),
    "trained_context": ("32768", False),
}
_NUMBERS = _OF_MODEL | _OF_PROFILE
_WHOLE = {"context", "trained_context"}
_SETTINGS = (*_NUMBERS, "answer_tokens", "capabilities")
_MOST_SEEN = 100_000


def read_profiles(path: Path, known: Mapping[str, Profile]) -> dict[str, Profile]:
    """The profiles that the file changes or adds, by canonical name. Raises UsageError: `file:line: what; fix`."""
    return _Reader(path, "a profile file").profiles(known)


class _Reader(NodeFile):
    def profiles(self, known: Mapping[str, Profile]) -> dict[str, Profile]:
        root = self.root()
        top = self.settings(root, "a profile file", ("models",))
        if "models" not in top:
            raise self.error(root, "a profile file lacks 'models'", "Write `models: {tinyllama: {load_s: 2.0}}`.")
        rows = self.mapping(top["models"], "'models'")
        return {canonical(name): self._profile(name, *nodes, known) for name, nodes in rows.items()}

    def _profile(self, name: str, key: yaml.Node, node: yaml.Node, known: Mapping[str, Profile]) -> Profile:
        what = f"model {name!r}"
        said = self.settings(node, what, _SETTINGS)
        numbers: dict[str, Any] = {
            setting: self.number(value, f"{setting!r} of {what}", f"{setting}: {_NUMBERS[setting][0]}", zero=zero)
            for setting, value in said.items()
            if setting in _NUMBERS
            for _, zero in [_NUMBERS[setting]]
        }
        numbers |= {setting: max(1, int(numbers[setting])) for setting in _WHOLE & numbers.keys()}
        base = known.get(canonical(name)) or self._new(name, key, numbers, known)
        model = replace(base.model, **{k: v for k, v in numbers.items() if k in _OF_MODEL})
        more = {k: v for k, v in numbers.items() if k in _OF_PROFILE}
        # Prompts are read so many times as fast as answers are written, unless both are told.
        more.setdefault(
            "prompt_tokens_per_s",
            PREFILL * model.tokens_per_s if "tokens_per_s" in numbers else base.prompt_tokens_per_s,
        )
        more.setdefault("trained_context", max(base.trained_context, model.context))
        if "answer_tokens" in said:
            more["answers"] = self._lengths(said["answer_tokens"], what)
        if "capabilities" in said:
            more["capabilities"] = self._capabilities(said["capabilities"], what)
        return replace(base, model=model, **more)

    def _new(self, name: str, key: yaml.Node, numbers: Mapping[str, Any], known: Mapping[str, Profile]) -> Profile:
        if "size_mb" not in numbers:
            hint = did_you_mean(name, known, "")
            fix = hint if hint.startswith("Did") else "Add `size_mb: 2500` to serve it beside them."
            raise self.error(key, f"model {name!r} is not in the fleet, and lacks 'size_mb'", fix)
        return profile_of(Model(name, numbers["size_mb"], numbers["size_mb"] / LOAD_MB_PER_S))

    def _lengths(self, node: yaml.Node, what: str) -> Lengths:
        example = "answer_tokens: 200"
        if isinstance(node, yaml.SequenceNode):
            if not 1 <= len(node.value) <= _MOST_SEEN:
                fix = f"Write 1 to {_MOST_SEEN:,}: `answer_tokens: [40, 120, 300]`."
                raise self.error(node, f"'answer_tokens' of {what} is a list of {len(node.value)}", fix)
            seen = (self.number(item, f"a length of {what}", "120") for item in node.value)
            return Seen(tuple(max(1, int(length)) for length in seen))
        if isinstance(node, yaml.MappingNode):
            said = self.settings(node, f"'answer_tokens' of {what}", ("mean", "cv"))
            if "mean" not in said:
                raise self.error(node, f"'answer_tokens' of {what} lacks 'mean'", "Write `{mean: 200, cv: 0.6}`.")
            cv = self.number(said["cv"], f"'cv' of {what}", "cv: 0.6", zero=True) if "cv" in said else VARIATION
            return LogNormal(self.number(said["mean"], f"'mean' of {what}", "mean: 200"), min(cv, 100.0))
        return LogNormal(self.number(node, f"'answer_tokens' of {what}", example), 0.0)

    def _capabilities(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self.error(node, f"'capabilities' of {what} is no list", "Write `[completion, tools]`.")
        for item in node.value:
            name = str(self.scalar(item))
            if name not in CAPABILITIES:
                hint = did_you_mean(name, CAPABILITIES, "")
                fix = hint if hint.startswith("Did") else f"There are {', '.join(CAPABILITIES)}."
                raise self.error(item, f"{what} has no capability {name!r}", fix)
        return tuple(item.value for item in node.value)
