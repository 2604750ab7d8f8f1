"""The three counters of a GPU: whatever the order of events, every slot and every model comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hotset.broker import Grant
from hotset.fleet import Gpu
from hotset.models import Loaded
from hotset_worker.hot_set import HotSet

MODELS = ("a", "b")


class Counters(RuleBasedStateMachine):
    """Grants are issued, spent or returned; claims end their inference before, after or without their release."""

    def __init__(self) -> None:
        super().__init__()
        self.hot = HotSet(Gpu("g", 1000, slots=2))
        self.grants: list[Grant] = []
        self.inferring: dict[str, str] = {}
        self.held: set[str] = set()
        self.count = 0

    @rule(model=st.sampled_from(MODELS), lane=st.sampled_from(["normal", "suspect"]))
    def grant(self, model: str, lane: str) -> None:
        grant = Grant("q", lane, "oldest", model, 0)
        self.hot.granted(grant)
        self.grants.append(grant)

    @precondition(lambda self: self.grants)
    @rule(data=st.data())
    def returned(self, data: st.DataObject) -> None:
        self.hot.returned(self.grants.pop(data.draw(st.integers(0, len(self.grants) - 1))))

    @precondition(lambda self: self.grants)
    @rule(data=st.data())
    def spent(self, data: st.DataObject) -> None:
        grant = self.grants.pop(data.draw(st.integers(0, len(self.grants) - 1)))
        self.count += 1
        claim = f"c{self.count}"
        self.hot.spent(grant, claim)
        self.held.add(claim)
        self.inferring[claim] = grant.model

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def inferred(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(sorted(self.held)))
        self.hot.inferred(claim)
        self.inferring.pop(claim, None)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), twice=st.booleans())
    def released(self, data: st.DataObject, twice: bool) -> None:
        claim = data.draw(st.sampled_from(sorted(self.held)))
        self.held.discard(claim)
        self.inferring.pop(claim, None)
        for _ in range(1 + twice):
            self.hot.released(claim)
        self.hot.inferred(claim)  # late news of a claim that is gone

    @invariant()
    def the_counters_agree(self) -> None:
        assert self.hot.busy == len(self.grants) + len(self.held)
        for model in MODELS:
            waiting = sum(g.model == model for g in self.grants)
            assert self.hot.running(model) == waiting + sum(m == model for m in self.inferring.values())
        assert self.hot.idle(MODELS) == (not self.grants and not self.inferring)


TestCounters = Counters.TestCase


@given(st.lists(st.sampled_from(MODELS), unique=True), st.lists(st.sampled_from(MODELS), unique=True))
def test_what_the_server_lists_is_resident_and_keeps_its_age(first: list[str], second: list[str]) -> None:
    hot = HotSet(Gpu("g", 1000))
    hot.seen([Loaded(m, 10, 8) for m in first], 1.0)
    hot.seen([Loaded(m, 10, 8) for m in second], 2.0)
    since = {r.model: r.since for r in hot.view().residents}
    assert since == {m: 1.0 if m in first else 2.0 for m in second}
    assert all(r.size_mb == 8 for r in hot.view().residents)


def test_a_slow_database_keeps_a_slot_but_not_a_model() -> None:
    hot = HotSet(Gpu("g", 1000))
    grant = Grant("q", "normal", "oldest", "a", 0)
    hot.granted(grant)
    hot.spent(grant, "c")
    assert not hot.idle(["a"])
    hot.inferred("c")
    assert hot.idle(["a"]) and hot.busy == 1
