"""Limits files: YAML in, checked Limits out. Every error names file, line and fix.

tenants:
  "*": {requests_per_min: 600, open_jobs: 5000}     # each tenant that is not named below
  acme: {requests_per_min: 6000, tokens_per_min: 2000000}
agents:
  log-aggregator-loki: {requests_per_min: 60}
queues:
  deepseek: {open_jobs: 200}
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import yaml

from hotset.errors import InvalidSettings, did_you_mean
from hotset.jobs.limits import EACH, KINDS, Limit, Limits
from hotset.nodes import NodeFile

_EXAMPLES = {"requests_per_min": "600", "tokens_per_min": "200000", "open_jobs": "5000"}
_SCOPES = ("tenants", "agents", "queues")


def read_limits(path: Path, *, agents: Collection[str] = (), queues: Collection[str] = ()) -> Limits:
    """The limits of a file. `agents` and `queues`: the names there are; another one is an error.

    Raises InvalidSettings; the message is `file:line: what; fix`.
    """
    return _Reader(path, "a limits file").limits({"agents": agents, "queues": queues})


class _Reader(NodeFile):
    refusal = InvalidSettings

    def limits(self, known: dict[str, Collection[str]]) -> Limits:
        top = self.settings(self.root(), "a limits file", _SCOPES)
        return Limits(**{scope: self._scope(node, scope, known.get(scope, ())) for scope, node in top.items()})

    def _scope(self, node: yaml.Node, scope: str, known: Collection[str]) -> dict[str, Limit]:
        found = {}
        for name, (key, value) in self.mapping(node, f"'{scope}'").items():
            if known and name != EACH and name not in known:
                hint = did_you_mean(name, known, f"hotset {scope} list")
                raise self.error(key, f"there is no {scope[:-1]} {name!r}", hint)
            what = f"{scope[:-1]} {name!r}"
            said = self.settings(value, what, KINDS)
            if not said:
                raise self.error(key, f"{what} has no limit", f"The limits are {', '.join(KINDS)}.")
            found[name] = Limit(**{kind: self._whole(number, kind, what) for kind, number in said.items()})
        return found

    def _whole(self, node: yaml.Node, kind: str, what: str) -> int:
        value = self.number(node, f"{kind!r} of {what}", f"{kind}: {_EXAMPLES[kind]}")
        if value != int(value):
            fix = f"Write a whole number, such as `{kind}: {_EXAMPLES[kind]}`."
            raise self.error(node, f"{kind!r} of {what} is {value:g}", fix)
        return int(value)
