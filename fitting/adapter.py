"""Trains the adapter of hotset's encoder: `python fitting/adapter.py`, most of an hour on two cores.

Needs `pip install jax optax` beside `make install`. Writes app/hotset/embedder/adapter.npz. Learned is what brings
together all that is said of one property, and what asks for it (the facts of corpus/ and of hotset's development
templates), apart from what is said of others (but for properties of other kinds of subject that are called the same:
owners of pets and of houses are no opposites): a supervised contrastive loss (Khosla et al. 2020) in batches that hold
properties of one kind of subject beside each other. The lower half of the encoder stays as it is, the upper gets
low-rank additions (LoRA, Hu et al. 2021).

Three files are left out. What is said on stderr is how well their sentences are told apart, and `hotset.lab.memory_fit`
fits its weights on them, so that these see vectors as good as those of sentences that nobody wrote yet.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import yaml

from hotset.embedder.weights import model_folder, read_weights
from hotset.embedder.wordpiece import WordPiece
from hotset.lab.memory_fit import FILES as LEFT_OUT
from hotset.lab.memory_world import BUILT_IN, JUDGES, read_templates

HERE = Path(__file__).parent
TARGET = HERE.parent / "app" / "hotset" / "embedder" / "adapter.npz"
LAYERS, HEADS, HIDDEN = 6, 12, 384
#: Layers from here on get additions.
FIRST = 3
RANK = 16
DENSE = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
         "intermediate.dense", "output.dense")  # fmt: skip
TEMPERATURE = 0.07
#: Sentences of a property in a batch: one that states it, one that changes it, one that asks, any other.
PER_PROPERTY = 4
#: Texts of these many tokens are computed together.
SHORT, LONG = 16, 32
STATES, CHANGES, ASKS, ASKS_OTHERWISE = "say", "change", "ask", "paraphrase"

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Property:
    """`texts`: by role, numbers of sentences. `whole`: it has all roles. `word`: what it is called beside its kind, as
    `owner` of `pet_owner`; empty where it has no name."""

    file: str
    kind: str
    word: str
    texts: dict[str, list[int]]
    whole: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=640)
    parser.add_argument("--properties", type=int, default=40, help="properties in a batch")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay", type=float, default=0.05)
    parser.add_argument("--fills", type=int, default=2, help="sentences made of each template")
    parser.add_argument("--to", type=Path, default=TARGET)
    asked = parser.parse_args()
    texts, properties = read_properties(asked.fills)
    tell(f"{len(properties)} properties, {len(texts)} sentences")
    encoder = Encoder(texts)
    learned = [p for p in properties if p.file not in LEFT_OUT]
    others = [p for p in properties if p.file in LEFT_OUT and p.whole]
    weights = train(encoder, learned, others, asked)
    arrays = {f"encoder.layer.{name}": np.asarray(array, np.float16) for name, array in weights.items()}
    np.savez(asked.to, **arrays)


def read_properties(fills: int) -> tuple[list[str], list[Property]]:
    """Each template filled with so many names and values."""
    rng = random.Random(5)
    files = {path.stem: path for path in sorted((HERE / "corpus").glob("*.yaml"))}
    sources: dict[str, Any] = {**files, **{name: name for name in BUILT_IN if name not in JUDGES}}
    texts: list[str] = []
    found: list[Property] = []

    def add(
        file: str, kind: str, roles: dict[str, list[str]], values: list[Any], names: list[Any], word: str = ""
    ) -> None:
        made: dict[str, list[int]] = defaultdict(list)
        for role, templates in roles.items():
            for template in templates:
                for _ in range(fills):
                    new, old = rng.sample(values, 2) if len(values) > 1 else (values[0], "that")
                    made[role].append(len(texts))
                    texts.append(template.format(s=rng.choice(names), v=new, old=old))
        found.append(Property(file, kind, word, dict(made), len(roles) > 2))

    for file, source in sources.items():
        known = yaml.safe_load(source.read_text("utf-8")) if isinstance(source, Path) else read_templates(source)
        for fact in known["facts"]:
            roles = {role: fact[role] for role in (STATES, CHANGES, ASKS, ASKS_OTHERWISE)}
            word = fact["name"].partition("_")[2]
            add(file, fact["of"], roles, fact["values"], known["subjects"][fact["of"]], word)
        for one in (*known.get("several", ()), *known["assistant"]):
            roles = {STATES: one["say"], ASKS: one["ask"]}
            add(file, one["of"], roles, one["values"], known["subjects"][one["of"]])
        for kind, questions in known["never"].items():
            for question in questions:
                add(file, kind, {ASKS: [question]}, ["that"], known["subjects"].get(kind, ["Tom"]))
    return texts, found


class Encoder:
    """The model in jax. What its lower half makes of each sentence is computed once."""

    def __init__(self, texts: Sequence[str]) -> None:
        folder = model_folder()
        self._weights = {name: jnp.array(array) for name, array in read_weights(folder).items()}
        words = WordPiece.read(folder / "vocab.txt")
        encoded = [words.encode(text, LONG) for text in texts]
        self.lengths = np.array([len(e) for e in encoded])
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self._lower = np.empty((self._starts[-1], HIDDEN), np.float16)
        lower = jax.jit(self._embed)
        order = np.argsort(self.lengths, kind="stable")
        for at in range(0, len(order), 64):
            rows = order[at : at + 64]
            longest = SHORT if self.lengths[rows].max() <= SHORT else LONG
            ids, mask = np.zeros((64, longest), np.int32), np.zeros((64, longest), np.float32)
            for row, i in enumerate(rows):
                ids[row, : self.lengths[i]], mask[row, : self.lengths[i]] = encoded[i], 1.0
            hidden = np.array(lower(ids, mask))
            for row, i in enumerate(rows):
                self._lower[self._starts[i] : self._starts[i + 1]] = hidden[row, : self.lengths[i]]

    def rows(self, numbers: Sequence[int], longest: int) -> tuple[Array, Array]:
        """Of these sentences what the lower half made, and where tokens stand."""
        hidden = np.zeros((len(numbers), longest, HIDDEN), np.float32)
        mask = np.zeros((len(numbers), longest), np.float32)
        for row, i in enumerate(numbers):
            size = min(self.lengths[i], longest)
            hidden[row, :size], mask[row, :size] = self._lower[self._starts[i] : self._starts[i] + size], 1.0
        return hidden, mask

    def upper(self, adapter: dict[str, Any], hidden: Any, mask: Any) -> Any:
        """Unit vectors."""
        total = (self._layers(adapter, hidden, mask, FIRST, LAYERS) * mask[..., None]).sum(1)
        return total / jnp.maximum(jnp.linalg.norm(total, axis=-1, keepdims=True), 1e-6)

    def new_adapter(self, seed: int = 0) -> dict[str, Any]:
        """Adds nothing yet."""
        rng = np.random.default_rng(seed)
        made = {}
        for layer in range(FIRST, LAYERS):
            for dense in DENSE:
                out, into = self._weights[f"encoder.layer.{layer}.{dense}.weight"].shape
                start = rng.normal(0, into**-0.5, (into, RANK))
                made[f"{layer}.{dense}.a"] = jnp.array(start, jnp.float32)
                made[f"{layer}.{dense}.b"] = jnp.zeros((RANK, out), jnp.float32)
        return made

    def _embed(self, ids: Any, mask: Any) -> Any:
        known = self._weights
        hidden = known["embeddings.word_embeddings.weight"][ids]
        hidden += known["embeddings.position_embeddings.weight"][: ids.shape[1]]
        hidden = self._norm(hidden + known["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm.")
        return self._layers(None, hidden, mask, 0, FIRST)

    def _layers(self, adapter: dict[str, Any] | None, hidden: Any, mask: Any, first: int, end: int) -> Any:
        blocked = ((mask - 1) * 1e4)[:, None, None, :]
        batch, length, _ = hidden.shape
        for layer in range(first, end):
            at = f"encoder.layer.{layer}."

            def dense(x: Any, name: str, layer: int = layer, at: str = at) -> Any:
                made = x @ self._weights[f"{at}{name}.weight"].T + self._weights[f"{at}{name}.bias"]
                if adapter is None:
                    return made
                return made + (x @ adapter[f"{layer}.{name}.a"]) @ adapter[f"{layer}.{name}.b"]

            query, key, value = (
                dense(hidden, name).reshape(batch, length, HEADS, -1).transpose(0, 2, 1, 3) for name in DENSE[:3]
            )
            attention = jax.nn.softmax(query @ key.transpose(0, 1, 3, 2) * (HIDDEN / HEADS) ** -0.5 + blocked, -1)
            mixed = (attention @ value).transpose(0, 2, 1, 3).reshape(batch, length, HIDDEN)
            hidden = self._norm(dense(mixed, DENSE[3]) + hidden, at + "attention.output.LayerNorm.")
            wide = jax.nn.gelu(dense(hidden, DENSE[4]), approximate=False)
            hidden = self._norm(dense(wide, DENSE[5]) + hidden, at + "output.LayerNorm.")
        return hidden

    def _norm(self, x: Any, at: str) -> Any:
        mean = x.mean(-1, keepdims=True)
        spread = ((x - mean) ** 2).mean(-1, keepdims=True)
        return (x - mean) / jnp.sqrt(spread + 1e-12) * self._weights[at + "weight"] + self._weights[at + "bias"]


def train(
    encoder: Encoder, learned: Sequence[Property], others: Sequence[Property], asked: argparse.Namespace
) -> dict[str, Any]:
    size = asked.properties * PER_PROPERTY
    short = int(size * 0.72) // 8 * 8
    adapter = encoder.new_adapter()
    rate = optax.warmup_cosine_decay_schedule(0, asked.rate, min(50, asked.steps // 10), asked.steps, asked.rate / 50)
    rule = optax.adamw(rate, weight_decay=asked.decay)
    state = rule.init(adapter)

    def loss(adapter: Any, first: Any, second: Any, same: Any, alike: Any) -> Any:
        vectors = jnp.concatenate([encoder.upper(adapter, *first), encoder.upper(adapter, *second)])
        itself = jnp.eye(size, dtype=bool)
        near = jnp.where(itself, -1e9, vectors @ vectors.T / TEMPERATURE)
        # Each that belongs to it against all that do not.
        rest = jax.scipy.special.logsumexp(jnp.where(same | alike, -1e9, near), 1, keepdims=True)
        belongs = same & ~itself
        return jnp.where(belongs, jnp.logaddexp(rest, near) - near, 0).sum() / jnp.maximum(belongs.sum(), 1)

    @jax.jit
    def step(adapter: Any, state: Any, first: Any, second: Any, same: Any, alike: Any) -> Any:
        value, slope = jax.value_and_grad(loss)(adapter, first, second, same, alike)
        change, state = rule.update(slope, state, adapter)
        return optax.apply_updates(adapter, change), state, value

    tell(f"before: {report(encoder, {k: jnp.zeros_like(v) for k, v in adapter.items()}, others)}")
    rng, began = random.Random(9), time.monotonic()
    values: list[float] = []
    words = np.array([one.word for one in learned])
    by_kind: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, one in enumerate(learned):
        by_kind[one.file, one.kind].append(number)
    for count in range(1, asked.steps + 1):
        numbers, owners = draw(rng, learned, by_kind, asked.properties)
        order = sorted(range(size), key=lambda i: encoder.lengths[numbers[i]])
        numbers, owner = [numbers[i] for i in order], np.array([owners[i] for i in order])
        first, second = encoder.rows(numbers[:short], SHORT), encoder.rows(numbers[short:], LONG)
        word = words[owner]
        alike = (word[:, None] == word[None, :]) & (word[:, None] != "")
        same = owner[:, None] == owner[None, :]
        adapter, state, value = step(adapter, state, first, second, same, alike & ~same)
        values.append(float(value))
        if count % 80 == 0 or count == asked.steps:
            seconds = time.monotonic() - began
            tell(f"{count}: loss {np.mean(values[-80:]):.3f}, {seconds:.0f} s, {report(encoder, adapter, others)}")
    return adapter


def draw(
    rng: random.Random, learned: Sequence[Property], by_kind: dict[tuple[str, str], list[int]], count: int
) -> tuple[list[int], list[int]]:
    """Sentences of so many properties, up to half of them of one kind of subject; and whose they are."""
    chosen: list[int] = []
    for kind in rng.sample(list(by_kind), len(by_kind)):
        chosen += rng.sample(by_kind[kind], len(by_kind[kind]))[: count // 2]
        if len(chosen) >= count:
            break
    pairs: list[tuple[int, int]] = []
    for number in chosen[:count]:
        one = learned[number]
        if one.whole:
            roles = [STATES, CHANGES, rng.choice((ASKS, ASKS_OTHERWISE)), rng.choice((STATES, CHANGES, ASKS_OTHERWISE))]
        else:
            roles = [STATES, ASKS, STATES, ASKS] if STATES in one.texts else [ASKS]
        pairs += [(rng.choice(one.texts[role]), number) for role in roles]
    wholes = [number for number, one in enumerate(learned) if one.whole]
    while len(pairs) < count * PER_PROPERTY:
        number = rng.choice(wholes)
        pairs.append((rng.choice(learned[number].texts[STATES]), number))
    return [text for text, _ in pairs], [number for _, number in pairs]


def report(encoder: Encoder, adapter: dict[str, Any], others: Sequence[Property]) -> str:
    """Among the properties of one kind of subject: how often the nearest is of the right one, for changes among first
    statements and for questions among statements; and how well changes are told from what they do not change."""
    rng = random.Random(1)
    items = [
        (one, role, rng.choice(one.texts[role]))
        for one in others
        for role in (STATES, CHANGES, ASKS, ASKS_OTHERWISE)
        for _ in range(2)
    ]
    upper, vectors = jax.jit(encoder.upper), np.empty((len(items), HIDDEN), np.float32)
    for at in range(0, len(items), 64):
        numbers = [number for _, _, number in items[at : at + 64]]
        numbers += numbers[:1] * (64 - len(numbers))
        vectors[at : at + 64] = np.array(upper(adapter, *encoder.rows(numbers, LONG)))[: len(items) - at]
    said, scores, same = [], [], []
    for role, among in ((CHANGES, (STATES,)), (ASKS, (STATES, CHANGES)), (ASKS_OTHERWISE, (STATES, CHANGES))):
        hits = []
        for i, (one, its_role, _) in enumerate(items):
            if its_role != role:
                continue
            rivals = [j for j, (other, r, _) in enumerate(items)
                      if r in among and (other.file, other.kind) == (one.file, one.kind)]  # fmt: skip
            near = vectors[rivals] @ vectors[i]
            right = [items[j][0] is one for j in rivals]
            hits.append(right[int(near.argmax())])
            if role == CHANGES:
                scores += list(near)
                same += right
        said.append(f"{role} {np.mean(hits):.3f}")
    yes, no = np.sort(np.array(scores)[same]), np.sort(np.array(scores)[~np.array(same)])
    said.append(f"AUC {np.mean(np.searchsorted(no, yes)) / len(no):.4f}")
    return ", ".join(said)


def tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
