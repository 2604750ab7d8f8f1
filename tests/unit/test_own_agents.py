"""Users' own agents in Python: declared by a decorator, made into prompts at submit, carried by their jobs."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest

import hotset
from hotset.agents import Agent, load_registry
from hotset.agents.intake import Intake
from hotset.client.flows import _asked
from hotset.errors import InvalidCatalogue, InvalidJob
from hotset.fleet_file import classic_fleet
from hotset.jobs.flows import expand
from hotset.store.jobs import body_hash


@pytest.fixture(scope="module")
def intake() -> Intake:
    fleet = classic_fleet()
    return Intake(load_registry(fleet), fleet, tenant="default", max_prompt_chars=1000)


@hotset.agent("invoice-reader", tier="balanced", max_tokens=1024, temperature=0.2, system="You read.", task_type="code")
def invoice_reader(doc: str, lang: str = "en") -> str:
    """Reads invoices."""
    return f"List the positions ({lang}):\n{doc}"


def test_the_function_stays_a_function_and_makes_the_prompt(intake: Intake) -> None:
    assert invoice_reader("a bill", lang="de") == "List the positions (de):\na bill"
    assert invoice_reader.__name__ == "invoice_reader" and invoice_reader.__doc__ == "Reads invoices."
    assert invoice_reader.name == "invoice-reader"
    job = intake.new_job(invoice_reader, "a bill")
    assert (job.agent, job.queue, job.prompt) == ("invoice-reader", "qwen", "List the positions (en):\na bill")
    assert intake.new_job(invoice_reader("a bill", lang="de")).prompt == "List the positions (de):\na bill"
    assert type(job.prompt) is str


def test_the_job_carries_the_declaration(intake: Intake) -> None:
    job = intake.new_job(invoice_reader, "a bill")
    assert job.spec is not None
    assert Agent(**job.spec["agent"]) == invoice_reader.declared
    assert asdict(invoice_reader.declared) == {
        "name": "invoice-reader",
        "tier": "balanced",
        "domain": "own",
        "role": "Reads invoices.",
        "task_type": "code",
        "system": "You read.",
        "max_tokens": 1024,
        "temperature": 0.2,
    }
    other = hotset.agent("invoice-reader", tier="balanced", system="You write.")(invoice_reader._function)
    assert body_hash(intake.new_job(other, "a bill")) != body_hash(job)
    assert intake.new_job("system-architect", "x").spec is None


def test_what_is_not_said_has_a_default(intake: Intake) -> None:
    @hotset.agent("bread-baker", tier="light")
    def bake(what: str) -> str:
        return what

    assert (bake.declared.role, bake.declared.system) == ("bread baker", "You are bread-baker: bread baker")
    assert bake.declared.task_type == "default" and bake.declared.max_tokens is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Invoice Reader"}, r"@hotset.agent\('Invoice Reader'\): name: .* Use 1 to 100 of a-z"),
        ({"name": 7}, "name: "),
        ({"max_tokens": 0}, "max_tokens: .* Give a whole number"),
        ({"temperature": 3}, "temperature: "),
        ({"task_type": "poetry"}, "task_type: .* Give code, creative"),
        ({"system": " "}, "system: "),
        ({"tier": ""}, "tier: "),
        ({"max_token": 3}, "no parameter 'max_token'. Did you mean 'max_tokens'"),
    ],
)
def test_a_bad_declaration_fails_where_it_stands(changes: dict[str, Any], said: str) -> None:
    values: dict[str, Any] = {"name": "x", "tier": "light", **changes}
    with pytest.raises(InvalidCatalogue, match=said):
        hotset.agent(values.pop("name"), **values)(lambda doc: doc)


def test_only_plain_functions_can_be_declared() -> None:
    async def later(doc: str) -> str:
        return doc

    for bad in (later, "text"):
        with pytest.raises(InvalidCatalogue, match="no plain function"):
            hotset.agent("x", tier="light")(bad)  # type: ignore[arg-type]


def test_what_does_not_fit_the_fleet_fails_at_submit_with_a_hint(intake: Intake) -> None:
    huge = hotset.agent("x", tier="balancd")(lambda doc: doc)
    with pytest.raises(InvalidCatalogue, match=r"no queue .* serves tier 'balancd'\. Did you mean 'balanced'"):
        intake.new_job(huge, "x")
    taken = hotset.agent("system-architect", tier="light")(lambda doc: doc)
    with pytest.raises(InvalidCatalogue, match=r"another agent of that name\. Rename yours"):
        intake.new_job(taken, "x")


def test_a_function_that_makes_no_text(intake: Intake) -> None:
    none = hotset.agent("x", tier="light")(lambda doc: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(InvalidJob, match="agent 'x' gave a NoneType"):
        intake.new_job(none, "x")
    with pytest.raises(InvalidJob, match="given twice"):
        intake.new_job(invoice_reader("a"), "b")
    with pytest.raises(InvalidJob, match="over the limit"):
        intake.new_job(invoice_reader, "b" * 1000)
    with pytest.raises(TypeError):
        invoice_reader()  # type: ignore[call-arg]


def test_own_agents_are_steps_too() -> None:
    nobody: Any = SimpleNamespace(context=None)  # none of these functions wants a context
    flow = hotset.chain(
        invoice_reader("bill"),
        invoice_reader,
        hotset.step(invoice_reader, "after {prev}"),
        hotset.step(invoice_reader, lambda prev: f"by {prev} and {{prev}}"),
    )
    made = [_asked(nobody, planned) for planned in expand(flow).steps]
    assert [(str(a), p) for a, p in made] == [
        ("List the positions (en):\nbill", None),
        ("List the positions (en):\n{prev}", None),
        ("List the positions (en):\nafter {prev}", None),
        ("List the positions (en):\nby {prev} and {{prev}}", None),
    ]
    assert all(a.declared is invoice_reader.declared for a, _ in made)
    with pytest.raises(InvalidJob, match="follows none"):
        _asked(nobody, expand(hotset.chain(invoice_reader)).steps[0])
