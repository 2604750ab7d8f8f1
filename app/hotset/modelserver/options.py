"""A request's `options`: types as Ollama checks them, what makes it reload a model, and ours (`hotset_…`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hotset.modelserver.faults import FAULTS
from hotset.modelserver.refusals import Refusal

_INTEGERS = {"num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "seed", "num_predict"}
_INTEGERS |= {"top_k", "repeat_last_n"}
_FLOATS = {"temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty"}
_RELOADING = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")
_MIN_CONTEXT = 4
# Ours, so that no request can keep this server busy for ever.
_MOST_STOPS = 64
_LONGEST_STOP = 1000
_LONGEST_RUN_S = 1e9
_LARGEST = 2.0**63  # Go's integers end there


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What a model is loaded with; a request whose options differ makes Ollama load it again (a hidden swap).

    Absent and explicit values differ, even where the explicit one is the default.
    """

    values: tuple[tuple[str, Any], ...] = ()

    def difference(self, other: LoadOptions) -> str:
        """Empty, or what differs, for the trace."""
        mine, theirs = dict(self.values), dict(other.values)
        names = [name for name in _RELOADING if mine.get(name) != theirs.get(name)]
        return ", ".join(f"{name} {mine.get(name, 'unset')} -> {theirs.get(name, 'unset')}" for name in names)

    def context(self, default: int) -> int:
        value = dict(self.values).get("num_ctx")
        return default if value is None else int(value)


def check(options: Mapping[str, Any]) -> None:
    """Refuse wrong types (a 500, as Ollama does); unknown options pass."""
    for name, value in options.items():
        if value is None:
            continue
        if name in _INTEGERS and not _is_number(value):
            raise Refusal(500, f'option "{name}" must be of type integer')
        if name in _FLOATS and not _is_number(value):
            raise Refusal(500, f'option "{name}" must be of type float32')
        if name == "use_mmap" and not isinstance(value, bool):
            raise Refusal(500, f'option "{name}" must be of type boolean')
        if name == "stop" and not isinstance(value, list):
            raise Refusal(500, f'option "{name}" must be of type array')
        if name == "stop" and not all(isinstance(item, str) for item in value):
            raise Refusal(500, f'option "{name}" must be of an array of strings')
        if name == "stop" and (len(value) > _MOST_STOPS or any(len(item) > _LONGEST_STOP for item in value)):
            raise Refusal(400, f"at most {_MOST_STOPS} stop sequences of {_LONGEST_STOP} characters are simulated")
    _check_ours(options)


def _check_ours(options: Mapping[str, Any]) -> None:
    run_s = options.get("hotset_run_s")
    if run_s is not None and not (_is_number(run_s) and 0 <= run_s <= _LONGEST_RUN_S):
        raise Refusal(400, 'option "hotset_run_s" must be a number of model seconds, 0 to 1e9')
    fault = options.get("hotset_fault")
    if fault is not None and not (isinstance(fault, str) and fault in FAULTS):
        raise Refusal(400, f'option "hotset_fault" must be one of {", ".join(sorted(FAULTS))}')


def load_options(options: Mapping[str, Any], *, trained_context: int) -> LoadOptions:
    """The part of the options that a model is loaded with."""
    values: dict[str, Any] = {name: options[name] for name in _RELOADING if options.get(name) is not None}
    if "num_ctx" in values:
        values["num_ctx"] = min(max(int(values["num_ctx"]), _MIN_CONTEXT), trained_context)
    if values.get("num_gpu", 0) < 0:  # "as many as fit" is what is done without it
        del values["num_gpu"]
    return LoadOptions(tuple(values.items()))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST
