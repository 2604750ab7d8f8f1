"""`hotset audit verify, conservation, seal, export` and `hotset erase` as an operator has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from byhand import Worker
from hotset.store import make_engine
from stack import Stack

Hotset = Callable[..., "CompletedProcess[str]"]
LIGHT = "log-aggregator-loki"


def by_force(stack: Stack, statement: str) -> None:
    engine = make_engine(stack.env["HOTSET_DATABASE_URL"], application="test")
    with engine.connect() as connection:
        connection.exec_driver_sql("SET session_replication_role = 'replica'")
        assert connection.exec_driver_sql(statement).rowcount > 0
    engine.dispose()


def test_prove_export_erase_and_find_a_forgery(hotset: Hotset, stack: Stack, tmp_path: Path) -> None:
    anchors, exported = tmp_path / "anchors.jsonl", tmp_path / "audit.jsonl"
    client = stack.client()
    with Worker(stack) as worker:
        for words in ("one", "two"):
            worker.finish(client.submit(LIGHT, words).id)
    waiting = client.submit(LIGHT, "three")

    assert "not sealed yet" in hotset("audit", "verify").stdout
    sealed = hotset("audit", "seal", HOTSET_AUDIT_ANCHOR=str(anchors))
    assert sealed.returncode == 0 and "head" in sealed.stderr
    assert json.loads(hotset("audit", "seal", "--json").stdout) == []
    verified = hotset("audit", "verify", "--anchor", str(anchors))
    assert verified.returncode == 0 and "Head: batch 1" in verified.stdout and "No anchor" not in verified.stderr
    assert "No anchor" in hotset("audit", "verify").stderr

    proved = hotset("audit", "conservation")
    assert proved.returncode == 0 and proved.stdout.count("holds") >= 8 and "BROKEN" not in proved.stdout
    said = json.loads(hotset("audit", "conservation", "--json", HOTSET_AUDIT_ANCHOR=str(anchors)).stdout)
    assert said["whole"] and said["accepted"] == {"jobs": 3, "removed": 0, "audit": 3}
    assert said["jobs"]["succeeded"] == 2 and said["jobs"]["open"] == 1 and said["chain"]["anchors"] == 1

    wrote = hotset("audit", "export", "--since", "1h", "-o", str(exported), "--json")
    assert wrote.returncode == 0 and json.loads(wrote.stdout)["rows"] == 7
    assert hotset("audit", "export", "-o", str(exported)).returncode == 1, "it exists"
    offline = hotset("audit", "verify", "--file", str(exported), "--anchor", str(anchors), "--json")
    assert offline.returncode == 0 and json.loads(offline.stdout)["entries"] == 7

    refused = hotset("erase", "--tenant", "default", "--yes")
    assert refused.returncode == 1 and "Cancel first" in refused.stderr
    waiting.cancel("to be erased")
    asked = hotset("erase", "--tenant", "default")
    assert asked.returncode == 2 and "--yes" in asked.stderr
    assert hotset("erase").returncode == 2
    assert json.loads(hotset("erase", "--tenant", "default", "--yes", "--json").stdout)["erased"] == 3
    assert hotset("erase", "--job", waiting.id).returncode == 0, "once more"

    by_force(stack, "UPDATE audit SET actor = 'nobody' WHERE action = 'claim'")
    found = hotset("audit", "verify")
    assert found.returncode == 1 and "batch 1, row" in found.stdout and "2 rows changed or added" in found.stdout
    by_force(stack, "DELETE FROM results")
    lost = hotset("audit", "conservation")
    assert lost.returncode == 1 and "no-result: 2" in lost.stdout and "BROKEN" in lost.stdout
