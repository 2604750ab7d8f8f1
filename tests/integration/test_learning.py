"""What a real worker learns, keeps and foresees, against the simulated GPU's truth."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from hotset.fleet import Fleet
from hotset.fleet_file import read_fleet
from hotset.learning import EMPTY, Key
from hotset.store import costs, ledger, make_engine
from hotset_worker.learning import Learned
from stack import Stack, eventually

LIGHT, BALANCED, COMPLEX = "log-aggregator-loki", "senior-backend-developer", "system-architect"
TRUE_LOAD_S = {"tinyllama": 2.0, "qwen2.5-coder:7b": 5.0, "deepseek-r1:8b": 6.0}
OPTIONS = {"hotset_run_s": 3}


def known(engine: Engine) -> dict[Key, Any]:
    return costs.by_key(costs.read(engine).costs)


def wrong_fleet(stack: Stack) -> Fleet:
    """The model servers keep their truth; the file that workers and clients read is wrong by a factor of three."""
    text = stack.fleet_path.read_text()
    for right, wrong in (("load_s: 6.0", "load_s: 1.9"), ("load_s: 5.0", "load_s: 15"), ("load_s: 2.0", "load_s: 6.0")):
        text = text.replace(right, wrong)
    stack.fleet_path.write_text(text.replace("run_s: 2.0", "run_s: 30"))
    return read_fleet(stack.fleet_path)


def test_after_a_few_jobs_estimates_are_right_and_a_restart_keeps_them(stack: Stack) -> None:
    stack.env["HOTSET_SCALE"] = "0.1"
    stack.fleet()
    fleet = wrong_fleet(stack)
    assert fleet.models["qwen2.5-coder:7b"].load_s == 15 and fleet.queues["tinyllama"].run_s == 30
    worker = stack.worker()
    client = stack.client()
    for _ in range(3):  # each round must load again: the three do not fit together
        for agent in (LIGHT, BALANCED, COMPLEX):
            for job in client.submit_many({"agent": agent, "prompt": "x", "options": OPTIONS} for _ in range(2)):
                job.result(timeout=120)
    eventually(lambda: known(client.engine).get(Key("run", "deepseek"), EMPTY).count == 6, within_s=15)

    def reckoned() -> Learned:
        learned = Learned(fleet.gpus[0], fleet)
        learned.read(client.engine)
        return learned

    learned = reckoned()
    seen = known(client.engine)
    loads = {model: seen[Key("load", model)].count for model in TRUE_LOAD_S}
    assert loads["deepseek-r1:8b"] >= 2 and loads["qwen2.5-coder:7b"] >= 2, loads
    for model, count in loads.items():
        # A load is some tenths of a wall second here: what the request itself takes shows on a busy machine.
        near = 0.5 * abs(fleet.models[model].load_s - TRUE_LOAD_S[model])
        assert count < 2 or learned.load_s(model) == pytest.approx(TRUE_LOAD_S[model], abs=near), (model, count)
    # Of six runs after a guess that was wrong by ten.
    assert learned.run_s("tinyllama") == pytest.approx(3.0, abs=5.4)
    assert learned.expected_run_s("tinyllama", LIGHT) == pytest.approx(3.0, abs=5.4)
    assert learned.expected_run_s("tinyllama", "never-seen") == learned.run_s("tinyllama")
    assert learned.size_mb("qwen2.5-coder:7b") == 2500
    assert seen[Key("tokens", "qwen")].last > 0 and seen[Key("rate", "qwen2.5-coder:7b")].count == 6

    # Restarted, it goes on from there, in the ledger, too: deepseek is still loaded.
    stack.kill(worker, signal.SIGTERM)
    swaps = ledger.swaps(client.engine)
    assert swaps[0].model == "deepseek-r1:8b" and swaps[0].left_at is None
    stack.worker()
    assert client.submit(COMPLEX, "x", options=OPTIONS).result(timeout=120)
    eventually(lambda: known(client.engine)[Key("run", "deepseek")].count == 7, within_s=15)
    # Who had forgotten would begin at the guess again, wrong by ten; on a busy machine a run is a little longer.
    assert reckoned().run_s("deepseek") <= 1.1 * learned.run_s("deepseek")
    eventually(
        lambda: ledger.swaps(client.engine)[0].jobs_served == swaps[0].jobs_served + 1,
        within_s=15,
        message=lambda: f"{swaps}\n\n{ledger.swaps(client.engine)}\n\n{stack.log()}",
    )
    assert [s.id for s in ledger.swaps(client.engine)] == [s.id for s in swaps]


def test_the_start_of_a_job_in_a_steady_backlog_is_foreseen(stack: Stack) -> None:
    stack.env["HOTSET_SCALE"] = "0.15"
    stack.fleet()
    client = stack.client()
    jobs = client.submit_many({"agent": LIGHT, "prompt": "x", "options": {"hotset_run_s": 3}} for _ in range(30))
    assert sorted(position for job in jobs if (position := job.position) is not None) == list(range(30))
    stack.worker()
    eventually(lambda: known(client.engine).get(Key("run", "tinyllama"), EMPTY).count >= 4, within_s=60)
    places = {job: place for job in jobs if (place := job.position) is not None}
    waiting = max(places, key=places.__getitem__)
    eta = waiting.eta
    assert eta is not None and eta.start_in_s is not None and eta.at is not None and eta.position is not None, eta
    assert eta.position > 2 and "before it" in eta.basis and abs((eta.at - datetime.now(UTC)).total_seconds()) < 60
    waiting.result(timeout=120)
    started = waiting.view.started_at
    assert started is not None
    off_s = (started - eta.at).total_seconds() / 0.15
    # Jobs by 2 slots of about 3 s, on a machine that may be busy: two fifths of it, or five runs.
    assert abs(off_s) <= max(15.0, 0.4 * eta.start_in_s), (off_s, eta)
    assert waiting.eta is None and client.job(waiting.id).eta is None

    # The worker watched some of them by itself.
    eventually(lambda: any(a.n >= 2 for a in ledger.accuracy(client.engine)), within_s=15)
    accuracy = ledger.accuracy(client.engine)[0]
    assert accuracy.queue == "tinyllama" and accuracy.mean_ahead_s > 0
    assert accuracy.mean_abs_s <= max(20.0, 0.3 * accuracy.mean_ahead_s), accuracy


def test_an_eta_says_why_when_there_is_none(stack: Stack) -> None:
    stack.fleet()
    client = stack.client()
    job = client.submit(LIGHT, "x")
    eta = job.eta
    assert eta is not None and (eta.start_in_s, eta.at, eta.position) == (None, None, 0) and "no GPU" in eta.basis
    client.pause("queue", "tinyllama")
    paused = job.eta
    assert paused is not None and "is paused" in paused.basis
    job.cancel()
    assert job.eta is None


def test_several_gpus_add_up_and_none_overwrites_another(database: str, stack: Stack) -> None:
    fleet = read_fleet(stack.fleet(gpus=2).fleet_path)
    engine = make_engine(database, application="test")
    try:
        one, two = (Learned(gpu, fleet) for gpu in fleet.gpus)
        for _ in range(10):
            one.ran("qwen", BALANCED, 6.0, 200)
            two.ran("qwen", BALANCED, 12.0, 200)
        for learned in (one, two):
            learned.write(engine)
        assert known(engine)[Key("run", "qwen")].count == 20
        for learned in (one, two):
            learned.read(engine)
        assert 6.0 < one.run_s("qwen") < 8.0 < two.run_s("qwen") < 12.0
        # A third that has seen nothing itself starts from what the others saw; unknown queues are not kept.
        fresh = Learned(fleet.gpus[0], fleet)
        assert fresh.run_s("qwen") == 8.0
        fresh.ran("strange", "", 1.0, 1)
        fresh.ran("qwen", "", 6.0, 100)
        fresh.write(engine)  # reads first: what was known stays
        found = known(engine)
        assert found[Key("run", "qwen")].count == 21 and Key("run", "strange") not in found
        # Who knows less does not overwrite who knows more.
        stale = Learned(fleet.gpus[0], fleet)
        stale.read(engine)
        one.ran("qwen", "", 6.0, 100)
        fresh.ran("qwen", "", 6.0, 100)
        fresh.ran("qwen", "", 6.0, 100)
        fresh.write(engine)
        one.write(engine)
        assert known(engine)[Key("run", "qwen")].count == 23
    finally:
        engine.dispose()
