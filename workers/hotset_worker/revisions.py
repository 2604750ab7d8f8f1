"""Which revision of a model its server runs: the digest that a job's audit names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from hotset.errors import HotsetError
from hotset.models import Loaded, canonical

log = logging.getLogger(__name__)


class Revisions:
    """Told by the owner's thread, asked from any. `ask` lists what is loaded."""

    def __init__(self, ask: Callable[[], Iterable[Loaded]]) -> None:
        self._ask = ask
        # Replaced as a whole, never changed: runs read it.
        self._digests: Mapping[str, str] = {}

    def of(self, model: str) -> str:
        """The digest of a loaded model; "" when its server does not say. Seldom asks the server."""
        name = canonical(model)
        if name not in self._digests:
            try:
                self.seen(self._ask())
            except HotsetError as e:
                log.debug("The revision of %s is not known: %s", model, e)
        return self._digests.get(name, "")

    def seen(self, loaded: Iterable[Loaded]) -> None:
        """What the model server lists."""
        self._digests = {**self._digests, **{m.model: m.digest for m in loaded if m.digest}}

    def forget(self, model: str) -> None:
        """It was loaded anew, and may have been pulled anew before."""
        self._digests = {m: d for m, d in self._digests.items() if m != canonical(model)}
