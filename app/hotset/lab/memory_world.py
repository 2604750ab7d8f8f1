"""Worlds for the memory's evaluation: sentences in order, then questions with the answer that is true.

A file of templates (see `memory_templates/development.yaml`) and a seed make one world. Files can be replaced by
anybody's own: the evaluation knows nothing but these words.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from hotset.errors import UsageError

#: The first sentence of each world; a sentence an hour follows.
_START = datetime(2026, 1, 1, 8, tzinfo=UTC)
SLICES = ("direct", "paraphrase", "update", "joined", "as_of", "assistant", "both", "unanswerable")
BUILT_IN = ("development", "second", "third", "fourth", "fifth", "sixth", "held_out", "unseen")
_NAMES = ", ".join(BUILT_IN)
#: Not looked at while rules were made, and nothing was fitted on them. `unseen` is by somebody who knew no rule.
JUDGES = ("held_out", "unseen")


@dataclass(frozen=True, slots=True)
class Sentence:
    text: str
    at: datetime
    said_by: str
    session: int


@dataclass(frozen=True, slots=True)
class Question:
    """`wanted`: the sentences (by number) that must be among the first five, all of them; the first of them is the
    one that must stand before `stale`. None at all: there is no answer."""

    slice: str
    text: str
    wanted: tuple[int, ...]
    stale: tuple[int, ...] = ()
    as_of: datetime | None = None
    updated: bool = False


@dataclass(slots=True)
class World:
    sentences: list[Sentence] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    #: Sentences that nothing ended: of properties that have several values at once.
    standing: list[int] = field(default_factory=list)
    #: Sentences that state one property of one subject: whom they are about, and which property.
    keys: dict[int, tuple[str, str]] = field(default_factory=dict)


def read_templates(name: str | Path) -> Mapping[str, Any]:
    """A built-in file by its name, or any file. Raises UsageError when it is no such file."""
    if name in BUILT_IN:
        text = (files(__package__) / "memory_templates" / f"{name}.yaml").read_text("utf-8")
    else:
        try:
            text = Path(name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise UsageError(f"The templates {name} cannot be read: {e}.", remedy=f"Name a file, or {_NAMES}.") from e
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise UsageError(f"{name} is not YAML: {e}.") from e
    needed = {"subjects", "facts", "joined", "assistant", "never", "noise", "strangers"}
    if not isinstance(found, dict) or needed - found.keys():
        raise UsageError(f"{name} is no file of templates.", remedy=f"It needs {', '.join(sorted(needed))}.")
    return found


def make_world(templates: Mapping[str, Any], seed: int) -> World:
    """About 150 sentences and 100 questions; the same for the same seed."""
    return _Maker(templates, random.Random(seed)).make()


@dataclass(slots=True)
class _Told:
    """One fact of one subject: its sentences in order."""

    fact: Mapping[str, Any]
    subject: str
    values: list[str]
    at: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)


class _Maker:
    def __init__(self, templates: Mapping[str, Any], rng: random.Random) -> None:
        self._t = templates
        self._rng = rng
        self._world = World()

    def make(self) -> World:
        told, joins, advice = self._draw()
        several = self._draw_several()
        # What is to be said, in streams whose own order must hold; they are mixed.
        streams: list[list[tuple[Any, str]]] = [[(t, s) for s in t.text] for t in told]
        streams += [[(j, j["text"])] for j in joins]
        streams += [[(a, a["text"])] for a in advice]
        streams += [[(None, text)] for text in self._t["noise"]]
        streams += [[(one, s) for s in one.text] for one in several]
        for owner, text in self._mixed(streams):
            number = len(self._world.sentences)
            assistant = isinstance(owner, dict) and "advice" in owner
            said_by = "assistant" if assistant else "user"
            at = _START + timedelta(hours=number)
            self._world.sentences.append(Sentence(text, at, said_by, number // 20))
            if isinstance(owner, _Told):
                owner.at.append(number)
                # Of what holds for several values at once not every file says a name.
                self._world.keys[number] = owner.subject, owner.fact.get("name") or owner.fact["say"][0]
            elif owner is not None:
                owner["at"] = number
        for one in told:
            self._ask(one)
        for join in joins:
            pair = (join["told"].at[-1], join["at"])
            text = self._rng.choice(join["ask"]).format(p=join["p"], s=join["told"].subject)
            self._question("joined", text, pair, tuple(join["told"].at[:-1]))
        for given in advice:
            self._question("assistant", self._rng.choice(given["ask"]).format(s=given["s"]), (given["at"],))
        self._ask_what_nobody_said(len(told) // 2)
        for one in several:
            self._question("both", self._rng.choice(one.fact["ask"]).format(s=one.subject), tuple(one.at))
            self._world.standing += one.at
        return self._world

    def _draw(self) -> tuple[list[_Told], list[dict[str, Any]], list[dict[str, Any]]]:
        rng, told, advice = self._rng, [], []
        people = {kind: rng.sample(names, min(9, len(names))) for kind, names in self._t["subjects"].items()}
        for kind, names in people.items():
            facts = [f for f in self._t["facts"] if f["of"] == kind]
            for name in names:
                for fact in rng.sample(facts, min(5, len(facts))):
                    values = rng.sample(fact["values"], rng.choice((1, 1, 2, 3)))
                    told.append(self._tell(fact, name, values))
            for one in self._t["assistant"]:
                if one["of"] == kind:
                    for name in rng.sample(names, min(4, len(names))):
                        value = rng.choice(one["values"])
                        text = rng.choice(one["say"]).format(s=name, v=value)
                        advice.append({"advice": True, "s": name, "ask": one["ask"], "text": text})
        joins, taken = [], set()
        for join in self._t["joined"]:
            fitting = [t for t in told if t.fact["name"] == join["second"]["fact"]]
            # Nobody in two of them: "the project that Tom works on" has to be one.
            kind = next(f["of"] for f in self._t["facts"] if f["name"] == join["second"]["fact"])
            others = [n for of, names in people.items() if of != kind for n in names if n not in taken]
            for one, name in zip(
                rng.sample(fitting, min(4, len(fitting))), rng.sample(others, len(others)), strict=False
            ):
                text = join["first"].format(p=name, s=one.subject)
                joins.append({"p": name, "told": one, "ask": join["ask"], "text": text})
                taken.add(name)
        return told, joins, advice

    def _draw_several(self) -> list[_Told]:
        """Of what holds for several values at once, two are said, and both go on being true."""
        rng, found = self._rng, []
        for fact in self._t.get("several", ()):
            names = self._t["subjects"][fact["of"]]
            for name in rng.sample(names, min(4, len(names))):
                values = rng.sample(fact["values"], 2)
                found.append(
                    _Told(fact, name, values, text=[rng.choice(fact["say"]).format(s=name, v=v) for v in values])
                )
        return found

    def _tell(self, fact: Mapping[str, Any], name: str, values: Sequence[str]) -> _Told:
        one = _Told(fact, name, list(values))
        one.text.append(self._rng.choice(fact["say"]).format(s=name, v=values[0]))
        for old, new in pairwise(values):
            one.text.append(self._rng.choice(fact["change"]).format(s=name, v=new, old=old))
        return one

    def _mixed(self, streams: list[list[tuple[Any, str]]]) -> Iterator[tuple[Any, str]]:
        order = [i for i, stream in enumerate(streams) for _ in stream]
        self._rng.shuffle(order)
        waiting = [iter(stream) for stream in streams]
        for i in order:
            yield next(waiting[i])

    def _ask(self, one: _Told) -> None:
        rng, fact = self._rng, one.fact
        now, before = (one.at[-1],), tuple(one.at[:-1])
        direct, other = (rng.choice(fact[kind]).format(s=one.subject) for kind in ("ask", "paraphrase"))
        if before:
            self._question("update", rng.choice((direct, other)), now, before, updated=True)
            then = rng.randrange(len(before))
            # An hour after it was said, and before the next was.
            as_of = _START + timedelta(hours=one.at[then], minutes=30)
            self._question("as_of", direct, (one.at[then],), tuple(one.at[:then]), as_of)
        else:
            self._question("direct", direct, now)
            self._question("paraphrase", other, now)

    def _ask_what_nobody_said(self, count: int) -> None:
        rng, asked = self._rng, set()
        for _ in range(count * 3):
            kind = rng.choice(list(self._t["never"]))
            if rng.random() < 0.5:
                text = rng.choice(self._t["never"][kind])
                names = sorted({q.split("|")[0] for q in self._names(kind)})
            else:
                text = rng.choice(rng.choice([f for f in self._t["facts"] if f["of"] == kind])["ask"])
                names = self._t["strangers"][kind]
            asked.add(text.format(s=rng.choice(names)))
        for text in sorted(asked)[:: max(1, len(asked) // count)]:
            self._question("unanswerable", text, ())

    def _names(self, kind: str) -> list[str]:
        """The subjects of this world that something was said of."""
        said = " ".join(s.text for s in self._world.sentences)
        return [name for name in self._t["subjects"][kind] if name in said]

    def _question(
        self,
        slice_: str,
        text: str,
        wanted: tuple[int, ...],
        stale: tuple[int, ...] = (),
        as_of: datetime | None = None,
        updated: bool = False,
    ) -> None:
        self._world.questions.append(Question(slice_, text, wanted, stale, as_of, updated))
