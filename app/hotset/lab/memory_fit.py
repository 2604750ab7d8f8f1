"""Fits the weights of `hotset.memory`: `python -m hotset.lab.memory_fit`, in the folder of the project.

Writes `hotset/memory/weights.json`, and says first how well weights do on the sentences of a file that was left out.
Everything happens in this process: no server is needed. `held_out` and `unseen` are not read.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from hotset.embedder import shared_embedder
from hotset.lab.memory_world import Question as Asks
from hotset.lab.memory_world import World, make_world, read_templates
from hotset.memory import detours, relevance, renewal
from hotset.memory.candidates import Candidate, Question
from hotset.memory.facts import kinds, kinds_of, read
from hotset.memory.ranking import THRESHOLD
from hotset.memory.renewal import Known
from hotset.memory.words import NO_NAMES, content, names, stem, terms

_CORPUS = Path("fitting/corpus")
#: The adapter's training left these out, so that vectors of their sentences are as near as those of any others.
FILES = ("public", "software", "nature")
_SEEDS = (0, 1)
#: Facts of each kind that worlds without names state; what asks for the others has no answer there.
_STATED = 5
#: As writing compares at most: the nearest in meaning.
_MOST, _WITNESSES = 60, 80
#: Of what shares a name with a bridge search compares so much; of the questions that no detour answers one in so many
#: is enough.
_BESIDE, _EVERY = 48, 4
_STEPS, _RATE = 400, 0.05
_RIDGE_RENEWAL, _RIDGE_RELEVANCE = 0.5, 1.0

_NAMELESS = relevance.NAMES.index("no names")
#: The logit from which on search shows an answer.
_SHOWN = math.log(THRESHOLD / (1 - THRESHOLD))

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Choice:
    """A sentence and the earlier ones that it may renew, or a question and the detours that may answer it. `right`: 1
    for those that state the same property, or lead to what is asked for. `change`: whether there is a word of change,
    or a clause that leads on."""

    seen: Array
    right: Array
    change: float


@dataclass(frozen=True)
class Asked:
    """A question and what is said of whom it names. `right`: 1 for what states what it asks for, now or once."""

    seen: Array
    right: Array


def main() -> None:
    worlds = {
        name: [_lived(make_world(read_templates(_CORPUS / f"{name}.yaml"), seed)) for seed in _SEEDS] for name in FILES
    }
    choices = {name: [c for world in found for c in _choices(*world)] for name, found in worlds.items()}
    asked = {name: [a for world in found for a in _asked(*world)] for name, found in worlds.items()}
    nameless = {
        name: [a for seed in _SEEDS for a in _asked(*_lived(_nameless(_CORPUS / f"{name}.yaml", seed)))]
        for name in FILES
    }
    for left_out in FILES:
        rest = [name for name in FILES if name != left_out]
        chosen = fit_choices([c for name in rest for c in choices[name]])
        judged = fit_relevance([a for name in rest for a in asked[name]], [a for name in rest for a in nameless[name]])
        led = fit_choices([c for name in rest for world in worlds[name] for c in _led(*world, judged)])
        ways = [c for world in worlds[left_out] for c in _led(*world, judged)]
        report = _report(choices[left_out], chosen, (asked[left_out], nameless[left_out]), judged)
        sys.stderr.write(f"without {left_out}: {report}; {_report_detours(ways, led)}\n")
    judged = fit_relevance([a for f in asked.values() for a in f], [a for f in nameless.values() for a in f])
    led = fit_choices([c for found in worlds.values() for world in found for c in _led(*world, judged)])
    weights = {
        "renewal": _named((*renewal.NAMES, *renewal.NOTHING), fit_choices([c for f in choices.values() for c in f])),
        "relevance": _named(relevance.NAMES, judged),
        "detours": _named((*detours.NAMES, *detours.NOTHING), led),
    }
    Path(str(resources.files("hotset.memory") / "weights.json")).write_text(json.dumps(weights, indent=1) + "\n")


def fit_choices(choices: Sequence[Choice]) -> Array:
    """A conditional logit with the choice of nothing, by gradient ascent (Adam) with a ridge penalty."""
    starts = np.cumsum([0, *(len(c.right) for c in choices)])[:-1]
    seen = np.concatenate([c.seen for c in choices])
    right = np.concatenate([c.right for c in choices])
    owner = np.repeat(np.arange(len(choices)), [len(c.right) for c in choices])
    change = np.array([c.change for c in choices])
    renews = np.array([c.right.sum() > 0 for c in choices])
    columns = seen.shape[1]
    weights = np.zeros(columns + 2)
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    penalty = np.array([1.0] * columns + [0.0, 0.1])
    for step in range(1, _STEPS + 1):
        utility, nothing = seen @ weights[:columns], weights[columns] + weights[columns + 1] * change
        most = np.maximum(np.maximum.reduceat(utility, starts), nothing)
        shares = np.exp(utility - most[owner])
        none = np.exp(nothing - most)
        total = np.add.reduceat(shares, starts) + none
        of_right = np.add.reduceat(shares * right, starts)
        wanted = np.where(renews[owner], shares * right / np.maximum(of_right, 1e-12)[owner], 0.0)
        off = none / total - ~renews
        slope = np.concatenate([seen.T @ (shares / total[owner] - wanted), [off.sum(), (off * change).sum()]])
        slope = (slope + _RIDGE_RENEWAL * weights * penalty) / len(choices)
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope * slope
        weights -= _RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return weights


def fit_relevance(asked: Sequence[Asked], nameless: Sequence[Asked]) -> Array:
    """Logistic regression by Newton's method with a ridge penalty. `nameless`: of questions without names, which decide
    about the weight of that alone, and last: fitted on all at once, weights tell less about questions with names."""
    seen, right = np.concatenate([a.seen for a in asked]), np.concatenate([a.right for a in asked])
    weights = np.zeros(seen.shape[1])
    penalty = np.array([_RIDGE_RELEVANCE] * (len(weights) - 1) + [1e-6])
    for _ in range(30):
        sure = 1 / (1 + np.exp(-seen @ weights))
        slope = seen.T @ (sure - right) + penalty * weights
        curve = (seen * (sure * (1 - sure))[:, None]).T @ seen + np.diag(penalty)
        weights -= np.linalg.solve(curve, slope)
    seen, right = np.concatenate([a.seen for a in nameless]), np.concatenate([a.right for a in nameless])
    for _ in range(30):
        sure = 1 / (1 + np.exp(-seen @ weights))
        weights[_NAMELESS] -= float((sure - right).sum()) / float((sure * (1 - sure)).sum())
    return weights


def _report(choices: Sequence[Choice], chosen: Array, asked: Sequence[Sequence[Asked]], judged: Array) -> str:
    """Shares at the two thresholds of `renewal`: of changes that were noticed, and of notices that were wrong. And how
    well the best answer tells the questions with an answer from those without."""
    columns = len(renewal.NAMES)
    best = []
    for c in choices:
        utility = np.append(c.seen @ chosen[:columns], chosen[columns] + chosen[columns + 1] * c.change)
        shares = np.exp(utility - utility.max())
        shares /= shares.sum()
        at = int(shares[:-1].argmax())
        best.append((float(shares[at]), bool(c.right[at]), bool(c.right.any())))
    said = []
    for least in (renewal.LIKELY, renewal.SURE):
        noticed = [right for share, right, _ in best if share >= least]
        of = sum(any_ for _, _, any_ in best)
        wrong = noticed.count(False) / max(1, len(noticed))
        said.append(f"from {least}: {noticed.count(True) / max(1, of):.2f} of changes noticed, {wrong:.2f} wrongly")
    told = []
    for some in asked:
        tops = [(float((a.seen @ judged).max()), bool(a.right.any())) for a in some if len(a.right)]
        yes, no = [t for t, right in tops if right], [t for t, right in tops if not right]
        apart = float(np.mean([[y > n for n in no] for y in yes]))
        kept = [float(np.mean([t > _SHOWN for t in group])) for group in (yes, no)]
        told.append(f"{apart:.2f} (shown {kept[0]:.2f} and {kept[1]:.2f})")
    return f"{'; '.join(said)}; answerable told from unanswerable {told[0]}, without names {told[1]}"


def _report_detours(ways: Sequence[Choice], led: Array) -> str:
    """Of the questions over another name: how many take a detour, and of how many the best is right; and how many
    of the others take one (with those of which no detour leads to the answer)."""
    columns = len(detours.NAMES)
    first, none = [], []
    for c in ways:
        utility = c.seen @ led[:columns]
        taken = float(np.exp(utility).sum()) > float(np.exp(led[columns] + led[columns + 1] * c.change))
        if c.right.any():
            first.append((taken, bool(c.right[int(utility.argmax())])))
        else:
            none.append(taken)
    return (
        f"detours: {np.mean([t for t, _ in first]):.2f} of questions that need one take one,"
        f" {np.mean([r for _, r in first]):.2f} have the right one first, {np.mean(none):.3f} of others take one"
    )


@dataclass(frozen=True)
class _Row:
    number: int
    known: Known
    stems: frozenset[str]
    said_by: str
    at: Any
    id: UUID
    kinds: frozenset[str]


def _lived(world: World) -> tuple[World, list[_Row], dict[str, tuple[Array, Array]]]:
    texts, asked = [s.text for s in world.sentences], [q.text for q in world.questions]
    every = list(dict.fromkeys([*texts, *asked]))
    embed = shared_embedder().embed
    vectors = dict(zip(every, zip(*embed(every), strict=True), strict=True))
    rows = []
    for i, s in enumerate(world.sentences):
        stated = Known(read(s.text), terms(s.text), *vectors[s.text])
        found = kinds_of(stated.statement.key)
        rows.append(_Row(i, stated, frozenset(content(s.text)), s.said_by, s.at, UUID(int=i + 1), found))
    return world, rows, vectors


def _nameless(file: Path, seed: int) -> World:
    """One of each kind, and nobody says more than that: "The service runs in Dublin.", "Who owns the service?"."""
    rng, templates = random.Random(seed), dict(read_templates(file))
    kinds_ = list(templates["subjects"])
    stated: list[Any] = []
    unsaid: list[tuple[str, str]] = []
    for kind in kinds_:
        facts = [f for f in templates["facts"] if f["of"] == kind]
        rng.shuffle(facts)
        stated += facts[:_STATED]
        unsaid += [(kind, rng.choice(fact["ask"])) for fact in facts[_STATED:]]
        unsaid += [(kind, text) for text in templates["never"].get(kind, ())]
    some = {kind: [f"the {kind}"] for kind in kinds_}
    world = make_world({**templates, "subjects": some, "strangers": some, "facts": stated, "joined": []}, seed)
    told = [q for q in world.questions if q.slice not in ("unanswerable", "joined")]
    asked = [Asks("unanswerable", text.format(s=f"the {kind}"), ()) for kind, text in unsaid]
    return replace(
        world,
        sentences=[replace(s, text=_capital(s.text)) for s in world.sentences],
        questions=[replace(q, text=_capital(q.text)) for q in (*told, *asked)],
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _names(question: str, known: set[str]) -> frozenset[str]:
    """Names as search finds them: what looks like one, or, without such words, what is one here."""
    found = names(question)
    return found or frozenset(w for w in map(str.lower, question.split()) if w in known)


def _properties(world: World) -> dict[int, int]:
    """Sentence -> a number that sentences of one property of one subject share."""
    found = {}
    for question in world.questions:
        if question.slice in ("update", "direct", "paraphrase"):
            for number in (*question.stale, question.wanted[0]):
                found[number] = question.wanted[0]
    return found


def _choices(world: World, rows: Sequence[_Row], _: Mapping[str, tuple[Array, Array]]) -> Iterator[Choice]:
    property_of = _properties(world)
    by_term: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        new = row.known
        sharing = [rows[i] for i in {i for t in new.terms - NO_NAMES for i in by_term[t]}]
        sharing.sort(key=lambda other: -float(new.about @ other.known.about))
        own = new.statement.names | new.statement.topic
        earlier = [other for other in sharing if other.known.terms & own][:_MOST]
        if earlier:
            seen = renewal.features(new, [o.known for o in earlier], [o.known for o in sharing[:_WITNESSES]])
            mine = property_of.get(row.number)
            right = [float(mine is not None and property_of.get(o.number) == mine) for o in earlier]
            yield Choice(np.array(seen, float), np.array(right), float(new.statement.change))
        for term in new.terms:
            by_term[term].add(row.number)


def _asked(world: World, rows: Sequence[_Row], vectors: Mapping[str, tuple[Array, Array]]) -> Iterator[Asked]:
    property_of = _properties(world)
    known = {t for row in rows for t in row.known.terms}
    for question in world.questions:
        if question.slice == "joined":
            continue
        asked, candidates = _understood(world, question, known, rows, vectors)
        own, others = _own(asked, candidates)
        if not own:
            continue
        right = set(question.wanted) | set(question.stale)
        if question.slice == "as_of":
            right = {i for i, mine in property_of.items() if mine == property_of[question.wanted[0]]}
        own = sorted(own, key=lambda c: -c.about)[:40]
        seen = relevance.features(asked, own, others)
        yield Asked(np.array(seen, float), np.array([float(c.id.int - 1 in right) for c in own]))


def _led(
    world: World, rows: Sequence[_Row], vectors: Mapping[str, tuple[Array, Array]], judged: Array
) -> Iterator[Choice]:
    """`judged`: the weights of relevance, which tell how well what is said of the question's own names answers it."""
    known = {t for row in rows for t in row.known.terms}
    joined = [q for q in world.questions if q.slice == "joined"]
    for question in (*joined, *[q for q in world.questions if q.slice != "joined"][::_EVERY]):
        asked, candidates = _understood(world, question, known, rows, vectors)
        own, others = _own(asked, candidates)
        candidates.sort(key=lambda c: -c.about)
        bridges = [c for c in candidates if asked.names <= c.names]
        over = frozenset().union(*(c.names for c in bridges)) - asked.names - NO_NAMES
        beside = [c for c in candidates if c.names & over and not asked.names <= c.names][:_BESIDE]
        found = detours.detours(asked, [*bridges, *beside])
        if not found:
            continue
        fits = np.array(relevance.features(asked, own, others)) @ judged
        seen = detours.features(asked, found, dict(zip(own, map(float, fits), strict=True)))
        right = [0.0] * len(found)
        if question.slice == "joined":
            bridge, targets = question.wanted[1], {question.wanted[0], *question.stale}
            right = [float(d.bridge.id.int - 1 == bridge and d.target.id.int - 1 in targets) for d in found]
        yield Choice(np.array(seen), np.array(right), float(asked.leads_on))


def _understood(
    world: World,
    question: Asks,
    known: set[str],
    rows: Sequence[_Row],
    vectors: Mapping[str, tuple[Array, Array]],
) -> tuple[Question, list[Candidate]]:
    found = _names(question.text, known)
    stems = frozenset(content(question.text)) - {stem(t) for t in found}
    when = question.as_of or world.sentences[-1].at
    whole, about = vectors[question.text]
    candidates = [_candidate(row, about, whole) for row in rows if row.at <= when]
    return Question(question.text, found, stems, when, kinds(question.text)), candidates


def _own(asked: Question, candidates: Sequence[Candidate]) -> tuple[list[Candidate], float]:
    """What is said of whom the question names, and how near the best of the rest is."""
    own = [c for c in candidates if not asked.names or 2 * len(asked.names & c.names) >= len(asked.names)]
    ids = {c.id for c in own}
    return own, max((c.about for c in candidates if c.id not in ids), default=0.0)


def _candidate(row: _Row, about: Array, whole: Array) -> Candidate:
    known = row.known
    return Candidate(
        row.id, known.terms, row.stems, float(whole @ known.whole), float(about @ known.about),
        row.said_by, row.at, None, None, row.kinds, known.about,
    )  # fmt: skip


def _named(names_: Sequence[str], weights: Array) -> dict[str, float]:
    return {name: round(float(weight), 3) for name, weight in zip(names_, weights, strict=True)}


if __name__ == "__main__":
    main()
