"""`hotset backup` and `hotset restore` on a home of their own: submit, back up, destroy, restore, go on."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import psycopg
import pytest

from hotset import Client, State, load_settings
from hotset.cli import main
from hotset.embedded import Servers
from hotset.fleet_file import classic_fleet
from hotset.modelserver.serve import serving
from stack import eventually

AGENT = "log-aggregator-loki"


class House:
    """A home of embedded servers, a simulated GPU and the command line."""

    def __init__(self, folder: Path, model_server: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HOTSET_", "OLLAMA_"))},
            "HOTSET_HOME": str(self.home),
            "HOTSET_MODEL_SERVER": model_server,
            "HOTSET_SCALE": "0.01",
        }

    def command(self, *words: str | Path) -> list[str]:
        return [sys.executable, "-m", "hotset.cli", *map(str, words)]

    def hotset(self, *words: str | Path, ok: bool = True) -> CompletedProcess[str]:
        """In this process, by the function that the program calls: a process each would cost seconds of imports."""
        out, err = io.StringIO(), io.StringIO()
        status: Any = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name in [name for name in os.environ if name.startswith(("HOTSET_", "OLLAMA_"))]:
                patch.delenv(name)
            for name, value in self.env.items():
                patch.setenv(name, value)
            patch.setattr("sys.argv", ["hotset", *map(str, words)])
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main()
                except SystemExit as e:
                    status = e.code or 0
        assert (status == 0) == ok, err.getvalue()
        return CompletedProcess(words, status, out.getvalue(), err.getvalue())

    @contextlib.contextmanager
    def worker(self, how_it_ends: signal.Signals = signal.SIGTERM) -> Iterator[None]:
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                self.command("worker"), cwd=self.folder, env={**self.env, "HOTSET_STOP_GRACE_S": "1"},
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            yield
        finally:
            os.killpg(process.pid, how_it_ends)
            process.wait(30)

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        with Client(settings=load_settings(self.env)) as client:
            yield client


@pytest.fixture
def house(server_home: Path) -> Iterator[House]:
    with serving(classic_fleet(), "gpu0", scale=0.01) as url:
        house = House(server_home, url)
        yield house
        Servers(house.home).stop()


def test_jobs_go_on_after_a_restore_and_finished_results_are_there(house: House) -> None:
    file = house.folder / "hotset.backup"
    house.hotset("up")
    with house.client() as client, house.worker(signal.SIGKILL):
        done = client.submit_many((AGENT, f"done {i}") for i in range(5))
        answers = {job.id: job.result(timeout=120).text for job in done}
        running = client.submit_many(
            {"agent": AGENT, "prompt": "long", "options": {"hotset_run_s": 9000}} for _ in "ab"
        )
        eventually(lambda: all(job.status is State.RUNNING for job in running), within_s=20)
        waiting = client.submit_many((AGENT, f"waits {i}") for i in range(4))
        remembered = client.memory().remember_many(["Acme pays in advance.", "Acme's office is in Lyon."])
        client.demote()
        said = json.loads(house.hotset("backup", file, "--json").stdout)
        assert said == {"file": str(file), "bytes": file.stat().st_size}
        assert file.stat().st_mode & 0o777 == 0o600
        lost = client.submit(AGENT, "after the backup")
    house.hotset("down")
    shutil.rmtree(house.home)

    restored = json.loads(house.hotset("restore", file, "--json").stdout)
    assert (restored["jobs"], restored["states"]) == (11, {"succeeded": 5, "queued": 6})
    assert Servers.running(house.home) is None  # it left the home as it found it: stopped
    house.hotset("up")
    with house.client() as client:
        assert {job.id: client.job(job.id).result(timeout=1).text for job in done} == answers
        # In another cluster, which had neither the memory's role nor its rights.
        assert client.memory().search("How does Acme pay?")[0].id == remembered[0]
        assert [drill.faults for drill in client.memory_check()] == [()]
        for job in running:
            again = client.job(job.id)
            assert (again.status, again.view.attempt, again.view.crashes) == (State.QUEUED, 1, 0)
            assert [row["action"] for row in client.audit(job.id)] == ["accept", "claim", "release"]
            assert again.cancel()
        with house.worker():
            # Nobody published them here: the worker's relay does, from Postgres.
            eventually(lambda: all(client.job(job.id).status.terminal for job in waiting), within_s=40)
            assert all(client.job(job.id).result().text for job in waiting)
            assert client.submit(AGENT, "and new ones run, too").result(timeout=120)
    refused = house.hotset("jobs", "show", lost.id, ok=False)
    assert "There is no job" in refused.stderr


def test_what_is_there_is_replaced_only_when_told(house: House) -> None:
    file = house.folder / "first.backup"
    house.hotset("up")
    with house.client() as client:
        first = client.submit(AGENT, "first")
        house.hotset("backup", file)
        second = client.submit(AGENT, "second")
        said = house.hotset("backup", file, ok=False)
        assert said.returncode == 2 and "exists" in said.stderr
        said = house.hotset("restore", file, ok=False)
        assert said.returncode == 2 and "--replace" in said.stderr
        other = house.folder / "notes.txt"
        other.write_text("not a backup")
        said = house.hotset("restore", other, "--replace", ok=False)
        assert said.returncode == 2 and "no backup of hotset" in said.stderr
        said = house.hotset("restore", house.folder / "none", "--replace", ok=False)
        assert said.returncode == 2 and "There is no file" in said.stderr
        url = client.settings.database_url.get_secret_value()
        with psycopg.connect(url, application_name="hotset-worker gpu0@here:1"):
            said = house.hotset("restore", file, "--replace", ok=False)
            assert said.returncode == 2 and "gpu0@here:1" in said.stderr and "Stop them" in said.stderr
        # A file that breaks in the middle: what was there is still there.
        half = house.folder / "half.backup"
        half.write_bytes(file.read_bytes()[:-2000])
        house.hotset("restore", half, "--replace", ok=False)
        assert client.job(second.id).status is State.QUEUED
    said = house.hotset("restore", file, "--replace")
    assert "Restored 1 jobs, 1 of them waiting" in said.stderr
    with house.client() as client:
        assert [view.id for view in client.jobs()] == [client.job(first.id).view.id]
        with psycopg.connect(client.settings.database_url.get_secret_value()) as connection:
            names = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'hotset%'").fetchall()
    assert names == [("hotset",)]


def test_a_terminal_shows_progress(house: House) -> None:
    house.hotset("up")
    for words in (("backup", "b.backup"), ("restore", "b.backup", "--replace")):
        master, slave = pty.openpty()
        env = house.env | {"TERM": "xterm-256color", "COLUMNS": "100"}
        process = subprocess.Popen(house.command(*words), cwd=house.folder, env=env, stderr=slave, stdout=slave)
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while more := os.read(master, 65536):
                shown += more
        os.close(master)
        assert process.wait(30) == 0, shown
        assert ("━" if words[0] == "restore" else "KiB") in shown.decode() and b"b.backup" in shown


def test_data_of_a_postgres_that_the_wheel_has_not_are_told_apart(house: House) -> None:
    data = house.home / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("12\n")
    said = house.hotset("up", ok=False).stderr
    assert "is Postgres 12's" in said and "hotset backup" in said and "hotset restore" in said
    assert (data / "PG_VERSION").read_text() == "12\n"


def test_tables_of_a_newer_hotset_are_told_apart(house: House) -> None:
    house.hotset("up")
    with house.client() as client, psycopg.connect(client.settings.database_url.get_secret_value()) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    said = house.hotset("up", ok=False).stderr
    assert "another hotset" in said and "9999" in said and "restore" in said
