"""A model server that lists its models and generates nothing (as in Ollama's issue 17408): found, reported, mended."""

from __future__ import annotations

import json
import sys

import httpx
import redis

from hotset.broker import Board
from hotset.fleet_file import read_fleet
from hotset.jobs import State
from stack import Stack, eventually

LIGHT = "log-aggregator-loki"


def address(stack: Stack) -> str:
    found = read_fleet(stack.fleet_path).gpus[0].address
    assert found is not None
    return found


def switch(stack: Stack, **faults: float) -> None:
    httpx.post(f"{address(stack)}/hotset/faults", json={"faults": faults}, trust_env=False).raise_for_status()


def test_it_is_found_reported_and_restarted_and_the_jobs_end_well(stack: Stack, broker_url: str) -> None:
    stack.fleet()
    mend = f"import httpx; httpx.post('{address(stack)}/hotset/faults', json={{'faults': {{}}}}, trust_env=False)"
    script = stack.folder / "restart.py"
    script.write_text(mend)
    asked = stack.folder / "asked"
    stack.env |= {
        "HOTSET_FIRST_TOKEN_TIMEOUT_S": "1.0",
        "HOTSET_MODEL_SERVER_RESTART": f"sh -c 'touch {asked}; test -e {asked}.go && {sys.executable} {script}'",
    }
    stack.worker()
    client = stack.client()
    client.submit(LIGHT, "warm").result(timeout=120)
    switch(stack, hang=1.0)
    job = client.submit(LIGHT, "x", max_retries=50)
    with redis.Redis.from_url(broker_url, decode_responses=True) as connection:
        board = Board(connection)
        eventually(lambda: any(gpu.unhealthy for gpu in board.read().values()), within_s=40, message=stack.log)
        (state,) = board.read().values()
        assert set(state.unhealthy) == {"tinyllama"} and "no first token" in state.unhealthy["tinyllama"]
        eventually(asked.exists, within_s=40, message=stack.log)
        # While it is sick it gets no jobs: the attempts stand still, though the retry's time has come.
        attempts = job.view.attempt
        eventually(lambda: job.status in (State.QUEUED, State.SCHEDULED), within_s=20, message=stack.log)
        later = client.submit(LIGHT, "later")
        assert "generates nothing" in stack.log()
        asked.with_name("asked.go").touch()
        assert job.result(timeout=90) and later.result(timeout=120)
        assert job.view.attempt <= attempts + 2 and job.view.crashes == 0 and later.view.attempt == 1
        eventually(lambda: not any(gpu.unhealthy for gpu in board.read().values()), within_s=20)
    assert "generates again" in stack.log()
    said = [json.loads(line) for line in stack.trace().read_text().splitlines()]
    assert sum(entry["event"] == "load" for entry in said) == 1, "probes load nothing"
