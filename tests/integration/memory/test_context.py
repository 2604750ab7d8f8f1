"""The functions of own agents get a context with their agent's memory, however they are submitted."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

import hotset
from hotset.client.memory import Scope
from hotset.errors import InvalidJob


@hotset.agent("refund-clerk", tier="light")
def refund_clerk(ctx: hotset.Context, question: str, language: str = "en") -> str:
    """Answers about refunds, from memory."""
    known = [m.text for m in ctx.memory.search(question, k=1, also=["project:shop"])]
    return f"{ctx.agent} knows {known}; answer in {language}: {question}"


QUESTION = "What is Acme's refund window?"
KNOWS = 'refund-clerk knows ["Acme\'s refund window is 30 days."]; answer in en: ' + QUESTION


@pytest.fixture(autouse=True)
def _own(client: hotset.Client, memory: Scope) -> None:
    client.context(refund_clerk).memory.remember("Acme's refund window is 30 days.")
    memory.remember("Acme's refund window for partners is 99 days.")


def prompts(client: hotset.Client) -> list[str]:
    url = client.settings.database_url.get_secret_value()
    with psycopg.connect(url) as connection:
        return [str(row[0]) for row in connection.execute("SELECT prompt FROM jobs ORDER BY id")]


def test_submit_gives_the_agents_own_memory_and_nothing_it_was_not_granted(client: hotset.Client) -> None:
    client.submit(refund_clerk, QUESTION)
    assert prompts(client) == [KNOWS]
    client.grant("project:shop", "refund-clerk")
    client.submit(refund_clerk, "What is Acme's refund window for partners?")
    assert "99 days" in prompts(client)[1]


def test_every_way_to_submit_gives_it(client: hotset.Client) -> None:
    client.submit_many([{"agent": refund_clerk, "prompt": QUESTION}])
    client.submit(hotset.chain(hotset.step(refund_clerk, QUESTION), hotset.step("qa-team-lead", "{prev}: right?")))
    events = client.stream(refund_clerk, QUESTION)
    assert next(iter(events)).kind == "queued"
    assert [p for p in prompts(client) if p.startswith("refund-clerk")] == [KNOWS] * 3


def test_a_call_with_more_arguments_is_given_one(client: hotset.Client) -> None:
    made = refund_clerk(client.context(refund_clerk), QUESTION, language="de")
    client.submit(made)
    assert prompts(client) == [KNOWS.replace("in en", "in de")]
    assert client.context("refund-clerk") == client.context(refund_clerk)


def test_tasks_get_it_too(client: hotset.Client) -> None:
    async def main() -> None:
        async with hotset.AsyncClient(settings=client.settings, tenant="acme") as other:
            await other.submit(refund_clerk, QUESTION)

    asyncio.run(main())
    assert prompts(client) == [KNOWS]


def test_a_function_that_gives_no_text_submits_nothing(client: hotset.Client) -> None:
    @hotset.agent("forgetful", tier="light")
    def forgetful(ctx: hotset.Context, question: str) -> Any:
        return ctx.memory.search(question)

    with pytest.raises(InvalidJob, match="gave a list"):
        client.submit(forgetful, QUESTION)
    assert prompts(client) == []
