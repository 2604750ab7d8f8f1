"""Names of models: Ollama shows `tinyllama` as `tinyllama:latest`; a fleet file may say either."""

from __future__ import annotations

_REGISTRY = ("registry.ollama.ai/", "library/")
_DEFAULT_TAG = ":latest"


def canonical(name: str) -> str:
    """The shortest name of the same model: without Ollama's own registry, its `library/` and the tag `latest`.

    Compare models by this: `/api/ps` writes `tinyllama:latest` for what a job calls `tinyllama`.
    """
    for prefix in _REGISTRY:
        name = name.removeprefix(prefix)
    return name.removesuffix(_DEFAULT_TAG)
