"""Flows as data: what a tree expands to, what stands in a prompt, what a retry runs again."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

import hotset
from hotset.agents.intake import Intake
from hotset.errors import InvalidJob
from hotset.jobs import State
from hotset.jobs.flows import (
    MOST_DEPENDENCIES,
    MOST_JOBS,
    MOST_LEVELS,
    STEP_OPTIONS,
    Chain,
    Flow,
    FlowStep,
    Group,
    Plan,
    Prev,
    Step,
    check_places,
    drawn,
    expand,
    fill,
    flow_state,
    leaves,
    made_by,
    template,
    to_replay,
)

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)
step = hotset.step


def flows(most: int = 25) -> st.SearchStrategy[Flow]:
    def more(children: st.SearchStrategy[Flow]) -> st.SearchStrategy[Flow]:
        parts = st.lists(children, min_size=1, max_size=4)
        return parts.map(lambda p: Chain(tuple(p))) | parts.map(lambda p: Group(tuple(p)))

    return st.recursive(st.just(Step("a", "p")), more, max_leaves=most)


def edges(flow: Flow, numbers: Any) -> set[tuple[int, int]]:
    """(step, what it depends on), by the definition: in a chain each part's first steps wait for the last before."""

    def walk(node: Flow) -> tuple[set[tuple[int, int]], set[int], set[int]]:
        if isinstance(node, Step):
            number = next(numbers)
            return set(), {number}, {number}
        assert isinstance(node, Chain | Group)
        found = [walk(part) for part in node.parts]
        inner = set().union(*(f[0] for f in found))
        if isinstance(node, Group):
            return inner, set().union(*(f[1] for f in found)), set().union(*(f[2] for f in found))
        for before, after in itertools.pairwise(found):
            inner |= {(a, b) for a in after[1] for b in before[2]}
        return inner, found[0][1], found[-1][2]

    return walk(flow)[0]


@calm
@given(flows())
def test_a_flow_expands_to_its_steps_and_the_dependencies_of_its_definition(flow: Flow) -> None:
    plan = expand(flow)
    assert [p.number for p in plan.steps] == list(range(len(plan.steps)))
    assert {(p.number, n) for p in plan.steps for n in p.after} == edges(flow, itertools.count())
    for planned in plan.steps:
        assert all(n < planned.number for n in planned.after)
        assert len(set(planned.after)) == len(planned.after)
    assert list(leaves(plan.shape)) == [(p.path, p.number) for p in plan.steps]
    assert len({p.path for p in plan.steps}) == len(plan.steps)


@calm
@given(flows())
def test_every_step_has_its_line_in_the_tree(flow: Flow) -> None:
    plan = expand(flow)
    text = drawn(plan.shape, lambda path, number: [f"<{path}|{number}>", "  before"])
    for planned in plan.steps:
        assert text.count(f"<{planned.path}|{planned.number}>") == 1
    assert text.count("before") == len(plan.steps)


def test_the_shape_of_an_example() -> None:
    a, b, c, d = (step(name, "p") for name in "abcd")
    plan = expand(hotset.chain(a, hotset.group(b, c), d))
    assert plan.shape == {"chain": [0, {"group": [1, 2]}, 3]}
    assert [(p.path, p.after) for p in plan.steps] == [("1", ()), ("2.1", (0,)), ("2.2", (0,)), ("3", (1, 2))]
    assert expand(hotset.chord([b, c], d)).shape == {"chain": [{"group": [0, 1]}, 2]}
    assert drawn(plan.shape, lambda path, number: [path]) == "chain\n├─ 1\n├─ 2 group\n│  ├─ 2.1\n│  └─ 2.2\n└─ 3"


def test_pairs_are_steps_and_a_list_may_be_given_whole() -> None:
    assert hotset.chain(("a", "p"), ("b", "q")) == hotset.chain(step("a", "p"), step("b", "q"))
    assert hotset.group(("a", str(i)) for i in range(3)) == hotset.group(*(step("a", str(i)) for i in range(3)))
    assert isinstance(hotset.chord([("a", "p")], ("b", "q")), Chain)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: hotset.chain(), "without steps"),
        (lambda: hotset.group([]), "without steps"),
        (lambda: hotset.chain("a", "p"), "Part 1 of the chain is a str"),
        (lambda: hotset.chain(("a", "b", "c")), "Part 1 of the chain is a tuple"),
        (lambda: hotset.group({"agent": "a"}), "is a dict"),
        (lambda: hotset.chord("ab", ("a", "p")), "list of steps and a body"),
        (lambda: hotset.chord([("a", "p")], None), "The body of the chord is a NoneType"),
        (lambda: step("a"), "has no prompt"),
        (lambda: step("a", 7), "is a int"),
        (lambda: step(7, "p"), "agent of a step is a int"),
        (lambda: step("a", "p", priorty="high"), "Did you mean 'priority'"),
        (lambda: step("a", "p", idempotency_key="k"), "Give it to the flow"),
        (lambda: hotset.group(("a", "p") for _ in range(MOST_JOBS + 1)), "at most 10,000 jobs"),
    ],
)
def test_what_is_no_flow_is_said_where_it_is_written(make: Any, said: str) -> None:
    with pytest.raises(InvalidJob, match=said):
        make()


def test_the_limits() -> None:
    half = hotset.group(*(step("a", "p") for _ in range(MOST_JOBS // 2)))
    assert len(expand(hotset.group(half, half)).steps) == MOST_JOBS
    with pytest.raises(InvalidJob, match="more than 10,000 jobs"):
        expand(hotset.group(half, half, step("a", "p")))
    wide = hotset.group(*(step("a", "p") for _ in range(int(MOST_DEPENDENCIES**0.5) + 1)))
    with pytest.raises(InvalidJob, match="Put one step between"):
        expand(hotset.chain(wide, wide))
    assert len(expand(hotset.chain(wide, step("a", "p"), wide)).steps) == 2 * len(wide.parts) + 1
    deep: Flow = step("a", "p")
    for _ in range(MOST_LEVELS):
        deep = hotset.chain(deep)
    assert len(expand(deep).steps) == 1
    with pytest.raises(InvalidJob, match="100 levels"):
        expand(hotset.chain(deep))


def test_a_long_chain_is_no_deep_one() -> None:
    plan = expand(hotset.chain(*(step("a", "p") for _ in range(5000))))
    assert plan.steps[-1].after == (4998,)
    assert len(drawn(plan.shape, lambda path, number: [path]).splitlines()) == 5001


def test_step_options_are_those_of_submit() -> None:
    asked = set(inspect.signature(Intake.new_job).parameters)
    ours = {"self", "agent", "prompt", "tenant", "scale", "job_id", "reply_to", "idempotency_key"}
    assert set(STEP_OPTIONS) == asked - ours
    assert set(STEP_OPTIONS) <= set(inspect.signature(hotset.Client.submit).parameters)


# answers passed on

texts = st.text("{}prev[0]12 \nx", max_size=60)


def test_answers_take_their_places() -> None:
    one, two = ("writer", "A"), ("critic", "B")
    assert fill("Review: {prev}", [one]) == "Review: A"
    assert fill("{prev[1]} after {prev[0]}", [one, two]) == "B after A"
    assert fill("{prev}", [one, two]) == "### 1 of 2: writer\nA\n\n### 2 of 2: critic\nB"
    assert fill('{"doc": {prev}}', [one]) == '{"doc": A}'
    assert fill("{{prev}} and {{{prev}}} and {prevent} {previous} {}", [one]) == (
        "{prev} and {A} and {prevent} {previous} {}"
    )


@calm
@given(texts, texts)
def test_no_brace_of_an_answer_means_anything(before: str, answer: str) -> None:
    prompt = before.replace("{", "(") + "{prev}" + before.replace("}", ")").replace("{", "(")
    whole = prompt.replace("{prev}", answer, 1)
    assert fill(prompt, [("a", answer)]) == whole


@calm
@given(st.lists(texts, min_size=1, max_size=4))
def test_what_a_function_brings_in_stays_as_it_is(parts: list[str]) -> None:
    token = "\x02token:"
    made = template((token + ":").join(parts), token)
    assert fill(made, [("a", "ANSWER")]) == "ANSWER".join(parts)
    made = template((token + "1:").join(parts), token)
    assert fill(made, [("a", "no"), ("b", "ANSWER")]) == "ANSWER".join(parts)


def test_a_function_is_given_what_stands_for_the_answers() -> None:
    assert made_by(lambda prev: f"Review {prev}", 1) == "Review {prev}"
    assert made_by(lambda prev: f"{prev[0]} or {prev[-1]}", 3) == "{prev[0]} or {prev[2]}"
    assert made_by(lambda prev: "; ".join(prev), 2) == "{prev[0]}; {prev[1]}"
    assert made_by(lambda prev: "no {prev} here", 1) == "no {{prev}} here"
    assert made_by(lambda prev: "a" + prev, 1) == "a{prev}"
    assert len(Prev("t", 3)) == 3


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda prev: None, "gave a NoneType"),
        (lambda prev: prev.upper(), "changed what stands"),
        (lambda prev: str(prev)[:20], "changed what stands"),
    ],
)
def test_a_function_that_makes_no_prompt(function: Any, said: str) -> None:
    with pytest.raises(InvalidJob, match=said):
        made_by(function, 1)


def test_errors_of_the_function_are_its_owners() -> None:
    with pytest.raises(IndexError):
        made_by(lambda prev: prev[1], 1)
    with pytest.raises(TypeError, match="cannot be cut"):
        made_by(lambda prev: prev[:10], 1)


def test_an_answer_that_does_not_come_is_missed_at_submit() -> None:
    check_places("{prev[1]} {{prev[7]}}", 2)
    with pytest.raises(InvalidJob, match=r"asks for \{prev\[2\]\}, and there are 2"):
        check_places("{prev[2]}", 2)


# states and retries


def test_what_a_flow_is() -> None:
    s = State
    assert flow_state([(s.QUEUED, None), (s.BLOCKED, None)]) is s.QUEUED
    assert flow_state([(s.SUCCEEDED, None), (s.BLOCKED, None)]) is s.RUNNING
    assert flow_state([(s.SCHEDULED, None), (s.BLOCKED, None)]) is s.SCHEDULED
    assert flow_state([(s.SUCCEEDED, None)] * 2) is s.SUCCEEDED
    assert flow_state([(s.CANCELLED, None), (s.FAILED, "DependencyFailed")]) is s.CANCELLED
    assert flow_state([(s.FAILED, "RunTimeout"), (s.CANCELLED, None)]) is s.FAILED
    assert flow_state([(s.EXPIRED, "QueueTimeout"), (s.FAILED, "DependencyFailed")]) is s.EXPIRED


def steps(plan: Plan, states: dict[int, State]) -> list[FlowStep]:
    return [FlowStep(p.number, uuid7(), states.get(p.number, State.SUCCEEDED), p.after) for p in plan.steps]


def test_a_retry_runs_what_failed_and_keeps_the_rest() -> None:
    a, b, c, d = (step(name, "p") for name in "abcd")
    plan = expand(hotset.chain(a, hotset.group(b, c), d))
    assert to_replay(steps(plan, {})) == ()
    assert to_replay(steps(plan, {1: State.FAILED, 3: State.FAILED})) == (1, 3)
    assert to_replay(steps(plan, {1: State.FAILED, 2: State.RUNNING, 3: State.FAILED})) == (1, 3)
    # One job of it: what failed below comes along, unless something else still stands in its way.
    assert to_replay(steps(plan, {1: State.FAILED, 3: State.FAILED}), only=1) == (1, 3)
    assert to_replay(steps(plan, {1: State.FAILED, 2: State.EXPIRED, 3: State.FAILED}), only=1) == (1,)
    assert to_replay(steps(plan, {1: State.FAILED, 3: State.FAILED}), only=3) == ()
    assert to_replay(steps(plan, {}), only=1) == (1,)


@calm
@given(flows(), st.data())
def test_what_is_replayed_can_run(flow: Flow, data: st.DataObject) -> None:
    plan = expand(flow)
    lost = data.draw(st.sets(st.sampled_from([p.number for p in plan.steps])))
    states: dict[int, State] = {}
    for planned in plan.steps:
        if planned.number in lost or any(states.get(n) is State.FAILED for n in planned.after):
            states[planned.number] = State.FAILED
    chosen = set(to_replay(steps(plan, states)))
    assert chosen == {n for n, state in states.items() if state is State.FAILED}
    for number in data.draw(st.sets(st.sampled_from([p.number for p in plan.steps]))):
        some = set(to_replay(steps(plan, states), only=number))
        for each in some:
            assert all(n in some or n not in states for n in plan.steps[each].after)
