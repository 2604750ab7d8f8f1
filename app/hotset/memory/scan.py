"""Where few rows fit a search: each is compared in Postgres, here the nearest are picked, and of these alone ranking's
columns are read. Sorting in Postgres, for each pool anew, took as long as reading and comparing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hotset.memory.words import NO_NAMES

if TYPE_CHECKING:
    import numpy as np

    from hotset.memory.candidates import Question
    from hotset.memory.session import Session

    Distances = np.ndarray[tuple[int], np.dtype[np.float32]]
    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]


class Compared:
    """All rows that fit, as `scan.sql` gives them in its one row. A place is an index into them."""

    def __init__(self, row: Any) -> None:
        import numpy as np

        self._ids = row.ids or b""
        self._followed = row.followed or b""
        self._names = row.names or []
        self.whole: Distances = np.frombuffer(row.whole or b"", ">f4").astype(np.float32)
        self.about: Distances = np.frombuffer(row.about or b"", ">f4").astype(np.float32)
        kind = np.frombuffer((row.kinds or "").encode(), np.uint8)
        self.summary: Mask = kind == ord("s")
        self.nameless: Mask = kind == ord("-")
        self.whole_name: Mask = kind == ord("a")
        self.named: Mask = self.whole_name | (kind == ord("n"))

    @cached_property
    def places(self) -> Mapping[bytes, int]:
        return {self.id(i): i for i in range(len(self.whole))}

    def names_of(self, places: Collection[int]) -> set[str]:
        """Of those that name all that the question names: all that they name."""
        import numpy as np

        return {name for i in np.searchsorted(np.flatnonzero(self.whole_name), list(places))
                for name in self._names[i].split(" ")}  # fmt: skip

    def followers(self, places: Iterable[int]) -> set[int]:
        """What took the place of these, and of that in turn, as far as it fits."""
        found: set[int] = set()
        if self._followed:
            pairs = [self._followed[at : at + 16] for at in range(0, len(self._followed), 16)]
            after = dict(zip(pairs[::2], pairs[1::2], strict=True))
            for place in places:
                while (new := self.places.get(after.get(self.id(place), b""))) is not None and new not in found:
                    found.add(place := new)
        return found

    def among(self, ids: bytes) -> Mask:
        """Those of these ids, 16 bytes each, that fit."""
        import numpy as np

        mask = np.zeros(len(self.whole), np.bool_)
        found = (self.places.get(ids[at : at + 16]) for at in range(0, len(ids), 16))
        mask[[place for place in found if place is not None]] = True
        return mask

    def nearest(self, distances: Distances, among: Mask, most: int) -> list[int]:
        """Places, the nearest first, by id where two are equally near."""
        import numpy as np

        places = np.flatnonzero(among)
        there = distances[places]
        if len(places) > most > 0:
            near = there <= np.partition(there, most - 1)[most - 1]
            places, there = places[near], there[near]
        order = sorted(zip(there.tolist(), map(self.id, places.tolist()), places.tolist(), strict=True))
        return [place for _, _, place in order[:most]]

    def id(self, place: int) -> bytes:
        return self._ids[16 * place : 16 * place + 16]


def scanned(session: Session, asked: Mapping[str, Any], question: Question) -> list[Any]:
    """Rows of `ranked.sql`: of those that share a name with the question the nearest, the nearest of all, by what is
    said and by the whole text; what is said of names that stand beside all of the question's, in the nearest texts
    that have these; and what took the place of any of these, as far as it fits."""
    (row,) = session.fetch("scan", asked)
    compared, pool = Compared(row), asked["pool"]
    places = {
        *compared.nearest(compared.about, compared.named, pool),
        *compared.nearest(compared.about, ~compared.summary, pool // 2),
        *compared.nearest(compared.whole, ~compared.summary, pool // 4),
        *_beside(session, asked, question, compared),
        # Apart, so that they take no place of what they are made of.
        *compared.nearest(compared.whole, compared.summary, asked["summaries"]),
    }
    places |= compared.followers(places)
    # An array as Postgres writes it: psycopg takes a quarter of a millisecond over a list of fifty.
    ids = "{" + ",".join([compared.id(place).hex() for place in places]) + "}"
    return session.fetch("looked_at", {**asked, "ids": ids}) if places else []


def _beside(session: Session, asked: Mapping[str, Any], question: Question, compared: Compared) -> list[int]:
    """The nearest of those that have a name which stands beside all of the question's: the answer may be said of it."""
    own = compared.nearest(compared.whole, compared.whole_name, asked["pool"] // 2)
    beside = {n for n in compared.names_of(own) if not "0" <= n[0] <= "9"} - question.names - NO_NAMES
    if not beside:
        return []
    (found,) = session.fetch("beside", {**asked, "beside": sorted(beside)})
    return compared.nearest(compared.about, compared.among(found.ids or b"") & compared.nameless, asked["pool"])
