"""The audit's chain of seals on a real Postgres: what is sealed when, what is found, what an export proves."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from hotset.errors import UsageError
from hotset.store import anchors, downgrade, make_engine, migrate, retention, seals
from hotset.store.export import export, verify_file
from hotset.store.verify import Verified, verify, verify_within


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = make_engine(database, application="test")
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def three_batches(module_database: str) -> Iterator[Engine]:
    """Of three rows each; what a test does to them it must take back."""
    engine = make_engine(module_database, application="test")
    for _ in range(3):
        write(engine, 3)
        sealed(engine)
    yield engine
    engine.dispose()


def run(engine: Engine, statement: str, *values: object) -> list[Any]:
    with engine.connect() as connection:
        found = connection.exec_driver_sql(statement, values)
        return list(found.all()) if found.returns_rows else []


def by_force(engine: Engine, statement: str, *values: object) -> None:
    """As somebody who owns the database: no trigger stops it."""
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection, connection.begin():
        connection.exec_driver_sql("SET LOCAL session_replication_role = 'replica'")
        assert connection.exec_driver_sql(statement, values).rowcount > 0


def write(engine: Engine, count: int = 1, tenant: str = "default", **more: str) -> None:
    for i in range(count):
        detail = json.dumps({"note": f'row {i} ü \n "q"', "n": 1.50, **more})
        run(engine, "INSERT INTO audit (tenant, actor, action, detail) VALUES (%s, 'me', 'x', %s)", tenant, detail)


def sealed(engine: Engine) -> list[seals.Seal]:
    return seals.seal(engine, by="test")


def faults(report: Verified) -> list[tuple[int | None, str]]:
    return [(f.batch, f.what) for f in report.faults]


def test_what_is_sealed_holds_and_what_is_new_waits_for_the_next_seal(engine: Engine) -> None:
    assert sealed(engine) == [] and verify(engine).whole
    write(engine, 5)
    (first,) = sealed(engine)
    assert (first.number, first.entries, first.previous) == (1, 5, seals.BEGINNING)
    assert sealed(engine) == []
    write(engine, 3)
    assert verify(engine).unsealed == 3
    (second,) = sealed(engine)
    assert (second.number, second.entries, second.previous) == (2, 3, first.hash)
    report = verify(engine)
    assert (report.whole, report.seals, report.entries, report.unsealed) == (True, 2, 8, 0)
    assert report.head is not None and report.head.hash == second.hash


def test_seals_are_made_by_one_at_a_time_and_not_too_often(engine: Engine) -> None:
    write(engine, 40)
    threads = [threading.Thread(target=sealed, args=(engine,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(engine).whole
    write(engine)
    assert seals.seal(engine, by="test", every_s=3600) == []
    assert len(sealed(engine)) == 1


def test_batches_have_a_limit(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the rows of one transaction, too."""
    monkeypatch.setattr(seals, "BATCH", 10)
    run(engine, "INSERT INTO audit (tenant, actor, action) SELECT 'default', 'me', 'x' FROM generate_series(1, 25)")
    assert [s.entries for s in sealed(engine)] == [10, 10, 5]
    assert verify(engine).entries == 25


def test_a_row_that_commits_late_is_sealed_late(engine: Engine, database: str) -> None:
    """Its number and time are older than those of rows that others see already."""
    write(engine)
    with psycopg.connect(database) as slow:
        slow.execute("INSERT INTO audit (tenant, actor, action) VALUES ('default', 'slow', 'x')")
        write(engine, 3)
        assert [s.entries for s in sealed(engine)] == [1], "what is not final is left alone"
        slow.commit()
    assert [s.entries for s in sealed(engine)] == [4]
    report = verify(engine)
    assert report.whole and report.entries == 5 and report.unsealed == 0


def test_writers_of_all_speeds_leave_no_row_outside_its_batch(engine: Engine, database: str) -> None:
    """Some commit at once, some late, some never, while two seal all the time."""
    writing = threading.Event()
    errors: list[BaseException] = []

    def write_at_random(seed: int) -> None:
        rng = random.Random(seed)
        try:
            with psycopg.connect(database) as connection:
                for _ in range(40):
                    for _ in range(rng.randint(1, 3)):
                        connection.execute("INSERT INTO audit (tenant, actor, action) VALUES ('default', 'me', 'x')")
                        time.sleep(rng.choice((0, 0, 0.002, 0.01)))
                    (connection.rollback if rng.random() < 0.1 else connection.commit)()
        except BaseException as e:
            errors.append(e)

    def seal_all_the_time() -> None:
        while not writing.is_set():
            sealed(engine)

    writers = [threading.Thread(target=write_at_random, args=(seed,)) for seed in range(6)]
    sealers = [threading.Thread(target=seal_all_the_time) for _ in range(2)]
    for thread in (*writers, *sealers):
        thread.start()
    for thread in writers:
        thread.join()
    writing.set()
    for thread in sealers:
        thread.join()
    sealed(engine)
    report = verify(engine)
    assert not errors and report.whole, (errors, faults(report))
    there = run(engine, "SELECT count(*) AS n FROM audit")[0].n
    assert report.unsealed == 0 and report.entries == there and report.seals > 5


def test_a_transaction_that_was_undone_leaves_no_hole(engine: Engine, database: str) -> None:
    with psycopg.connect(database) as undone:
        undone.execute("INSERT INTO audit (tenant, actor, action) VALUES ('default', 'undone', 'x')")
        write(engine, 2)
        undone.rollback()
    assert [s.entries for s in sealed(engine)] == [2]
    assert verify(engine).whole


def test_seals_are_as_append_only_as_rows(engine: Engine) -> None:
    write(engine)
    sealed(engine)
    for statement in ("UPDATE audit_seals SET hash = hash", "DELETE FROM audit_seals", "TRUNCATE audit_seals"):
        with pytest.raises(DatabaseError, match="append-only"):
            run(engine, statement)


@pytest.mark.parametrize(
    ("statement", "batch", "what"),
    [
        ("UPDATE audit SET actor = 'nobody' WHERE id = 4", 2, "1 row changed or added, the first is id 4"),
        ("UPDATE audit SET detail = detail || '{\"n\": 1.50}' WHERE id = 5", 2, "id 5"),
        ("UPDATE audit SET at = at + interval '1 microsecond' WHERE id = 6", 2, "id 6"),
        ("DELETE FROM audit WHERE id = 5", 2, "1 row missing"),
        ("DELETE FROM audit WHERE id <= 3", 1, "all its 3 rows are missing"),
        ("INSERT INTO audit (tenant, actor, action, tx) SELECT 'default', 'me', 'x', tx FROM audit WHERE id = 6",
         3, "changed or added, the first is id 10"),
        ("INSERT INTO audit (tenant, actor, action, tx) VALUES ('default', 'me', 'x', 0)", 1, "changed or added"),
        ("INSERT INTO audit (tenant, actor, action, tx) VALUES ('default', 'me', 'x', -9)", None, "added later"),
        ("DELETE FROM audit_seals WHERE number = 2", 3, "1 seals before it are missing"),
        ("DELETE FROM audit_seals WHERE number = 1", 2, "does not begin"),
        ("UPDATE audit_seals SET entries = entries + 1, marks = marks || '\\x0000000000000000'::bytea WHERE number = 3",
         3, "the seal was changed"),
        ("UPDATE audit_seals SET previous = hash WHERE number = 2", 2, "does not follow"),
    ],
)  # fmt: skip
def test_what_was_changed_by_force_is_found_and_named(
    three_batches: Engine, statement: str, batch: int | None, what: str
) -> None:
    with three_batches.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        assert verify_within(connection).whole
        connection.exec_driver_sql("SET LOCAL session_replication_role = 'replica'")
        assert connection.exec_driver_sql(statement).rowcount > 0
        report = verify_within(connection)
        connection.rollback()
    assert not report.whole
    assert any(b == batch and what in said for b, said in faults(report)), faults(report)


def test_a_chain_written_anew_is_found_by_its_anchors_only(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    for _ in range(3):
        write(engine, 2)
        anchors.append(path, sealed(engine))
    assert verify(engine, anchors=anchors.read(path)).anchors == 3
    by_force(engine, "UPDATE audit SET actor = 'nobody' WHERE id = 3")
    by_force(engine, "DELETE FROM audit_seals")
    assert len(sealed(engine)) == 1
    assert verify(engine).whole, "its owner can do that"
    report = verify(engine, anchors=anchors.read(path))
    assert [b for b, _ in faults(report)] == [1, 2, 3]
    assert "anchored outside" in report.faults[0].what and "is gone" in report.faults[1].what


def test_anchors_survive_a_cut_off_line_and_refuse_nonsense(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    write(engine)
    anchors.append(path, made := sealed(engine))
    anchors.append(path, [])
    with path.open("a") as more:
        more.write('{"number": 2, "ha')
    assert anchors.read(path) == {1: {made[0].hash.hex()}}
    write(engine)
    anchors.append(path, sealed(engine))
    assert set(anchors.read(path)) == {1, 2}
    path.write_text("nonsense\n")
    with pytest.raises(UsageError, match="line 1 is no anchor"):
        anchors.read(path)
    with pytest.raises(UsageError, match="cannot be read"):
        anchors.read(tmp_path / "none")


def month(engine: Engine, months_ago: int, entries: int) -> str:
    day = run(engine, "SELECT (date_trunc('month', now()) - make_interval(months => %s))::date AS d", months_ago)[0].d
    run(engine, "SELECT audit_make_partition(%s)", day)
    for _ in range(entries):
        run(engine, "INSERT INTO audit (at, tenant, actor, action) VALUES (%s, 'default', 'me', 'x')", day)
    return f"audit_{day:%Y_%m}"


def test_months_that_retention_dropped_leave_their_seals(engine: Engine) -> None:
    for ago in (16, 15, 14):
        month(engine, ago, 3)
    write(engine, 2)
    assert [s.entries for s in sealed(engine)] == [3, 3, 3, 2], "each month has a seal of its own"
    assert len(retention.drop_months(engine, actor="test", keep_months=14).months) == 2
    sealed(engine)
    report = verify(engine)
    assert report.whole and sum(report.removed.values()) == 6 and len(report.removed) == 2
    retention.drop_months(engine, actor="test", keep_months=13)
    sealed(engine)
    assert sum(verify(engine).removed.values()) == 9
    # The same without a word is no retention.
    gone = month(engine, 12, 2)
    sealed(engine)
    run(engine, f"DROP TABLE {gone}")
    assert ["nothing says who dropped them" in what for _, what in faults(verify(engine))] == [True]


def test_rows_of_before_the_chain_are_sealed_when_it_comes(database: str) -> None:
    downgrade(database, "0004")
    engine = make_engine(database, application="test")
    try:
        write(engine, 4)
        assert sealed(engine) == [], "an older schema is left alone"
        migrate(database)
        write(engine, 2)
        assert sum(s.entries for s in sealed(engine)) == 6
        assert verify(engine).whole
    finally:
        engine.dispose()


def test_after_a_restore_into_another_cluster_the_chain_goes_on(engine: Engine, database: str) -> None:
    """There transaction ids are lower than those in the audit: as here, where the audit's are raised."""
    write(engine, 3)
    by_force(engine, "UPDATE audit SET tx = tx + 1000000")
    write(engine, 2)
    by_force(engine, "UPDATE audit SET tx = tx + 1000000 WHERE tx < 1000000")
    assert sealed(engine) == []
    migrate(database)
    (first,) = sealed(engine)
    assert first.entries == 5
    write(engine, 2)
    migrate(database)  # nothing more to do
    (second,) = sealed(engine)
    assert second.to_tx > first.to_tx and second.entries == 2
    assert verify(engine).whole


def exported(engine: Engine, path: Path, **which: Any) -> list[dict[str, Any]]:
    with path.open("w", encoding="utf-8", newline="\n") as out:
        export(engine, out, **which)
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_an_export_is_verified_without_the_database(engine: Engine, tmp_path: Path) -> None:
    path, anchored = tmp_path / "audit.jsonl", tmp_path / "anchors.jsonl"
    write(engine, 3)
    write(engine, 2, tenant="acme")
    anchors.append(anchored, sealed(engine))
    write(engine, 2, tenant="acme")
    anchors.append(anchored, sealed(engine))
    lines = exported(engine, path, tenant="acme")
    assert sum("other" in line for line in lines) == 3
    assert {line["tenant"] for line in lines if "action" in line} == {"acme"}
    report = verify_file(path, anchors=anchors.read(anchored))
    assert (report.whole, report.seals, report.entries, report.anchors) == (True, 2, 7, 2)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('"actor": "me"', '"actor": "you"', "not those that were sealed"),
        ('"sealed_by":"test"', '"sealed_by":"other"', "seal was changed"),
        ('{"end"', "", "ends too early"),
    ],
)
def test_an_export_that_was_changed_is_found(engine: Engine, tmp_path: Path, old: str, new: str, what: str) -> None:
    path = tmp_path / "audit.jsonl"
    write(engine, 2)
    sealed(engine)
    exported(engine, path)
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1) if new else text[: text.index(old)], "utf-8")
    report = verify_file(path)
    assert any(what in said for _, said in faults(report)), faults(report)


@pytest.mark.parametrize("text", ["", "{}\n", "no\n", '{"export": {}}\n{"seal": {"number": 1}}\n', "[1]\n"])
def test_a_file_that_is_no_export_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match="no export of the audit"):
        verify_file(path)
