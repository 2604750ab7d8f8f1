"""Every file of deploy/ and the Procfile, held against the code: commands, options, settings, ports."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml
from celery.bin.celery import celery

from hotset import Settings, load_settings
from hotset.cli.main import app
from hotset.embedded.valkey import RULES
from hotset.fleet_file import read_fleet

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service")) + sorted((DEPLOY / "systemd").glob("*.target"))
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
SERVICES: Mapping[str, Any] = COMPOSE["services"]
PROCFILE = dict(
    line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines() if line and not line.startswith("#")
)
KNOWN = {f"HOTSET_{field.name.upper()}" for field in fields(Settings)} | {"HOTSET_CONFIG"}

#: Values that a unit's instance number stands for.
GPUS = ("0", "1")


def unit(path: Path, instance: str = "0") -> dict[str, dict[str, list[str]]]:
    """Section -> key -> its values in order; %i is the instance."""
    sections: dict[str, dict[str, list[str]]] = {}
    section = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith(("#", ";")):
            continue
        if line.startswith("["):
            section = line.strip("[]")
            continue
        key, equals, value = line.partition("=")
        assert section and equals and re.fullmatch(r"[A-Z]\w+", key), f"{path.name}:{number}: {line}"
        sections.setdefault(section, {}).setdefault(key, []).append(value.replace("%i", instance))
    return sections


@functools.cache
def _hotset() -> Any:
    return typer.main.get_command(app)


class Refused(Exception):
    """The program would end with a usage error."""


def resolve(words: list[str]) -> None:
    """Parse a command line by the program's own tree of commands, without running it. Raises Refused."""
    assert words[0] in ("hotset", "celery")
    # Typer brings a click of its own, Celery has the real one: the same methods, other classes.
    command: Any = _hotset() if words[0] == "hotset" else celery
    try:
        context = command.make_context(words[0], words[1:])
        while hasattr(command, "resolve_command"):
            # What a group has not used is its subcommand and that one's words.
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, rest, parent=context)
    except Exception as error:
        if hasattr(error, "format_message"):
            raise Refused(f"{shlex.join(words)}: {error.format_message()}") from error
        raise


def commands() -> Iterator[tuple[str, list[str]]]:
    for name, line in PROCFILE.items():
        yield f"Procfile {name}", shlex.split(line)
    for path in UNITS:
        for line in unit(path).get("Service", {}).get("ExecStart", []):
            program, *words = shlex.split(line)
            if Path(program).name in ("hotset", "celery"):
                yield path.name, [Path(program).name, *words]
    for name, service in SERVICES.items():
        for words in (service.get("command"), (service.get("healthcheck") or {}).get("test", [])[1:]):
            if words and words[0] in ("hotset", "celery"):
                yield f"compose {name}", words
    for path in (*DEPLOY.rglob("*.md"), *DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.service"), ROOT / "Procfile"):
        for found in re.findall(r"`(hotset [^`]+)`", path.read_text()):
            yield f"{path.name} (text)", shlex.split(found)


def test_commands_are_found_everywhere() -> None:
    places = {place.split()[0] for place, _ in commands()}
    assert places >= {
        "Procfile",
        "compose",
        "hotset-worker@.service",
        "hotset-flower.service",
        "hotset-migrate.service",
    }


@pytest.mark.parametrize(("place", "words"), list(commands()), ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_each_command_exists_with_its_options(place: str, words: list[str]) -> None:
    resolve(words)


@pytest.mark.parametrize(
    "line", ["hotset wroker", "hotset worker --gqu 0", "hotset serve --port many", "celery nothing"]
)
def test_a_wrong_command_would_be_found(line: str) -> None:
    with pytest.raises(Refused):
        resolve(shlex.split(line))


def test_every_process_is_in_the_procfile() -> None:
    assert {words.split()[1] for words in PROCFILE.values()} == {"serve", "worker", "flower"}


def test_every_variable_is_a_setting() -> None:
    named: set[str] = set()
    for path in [p for p in DEPLOY.rglob("*") if p.is_file()] + [ROOT / "Procfile"]:
        named |= set(re.findall(r"\bHOTSET_[A-Z_]+", path.read_text()))
    assert named and named <= KNOWN


def test_the_settings_and_fleets_are_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings({"HOTSET_CONFIG": str(DEPLOY / "hotset.toml")})
    assert settings.fleet == Path("/etc/hotset/fleet.yaml")
    in_containers = load_settings({"HOTSET_CONFIG": str(DEPLOY / "compose" / "hotset.toml.example")})
    assert "PASSWORD" in in_containers.database_url.get_secret_value()
    for path in (DEPLOY / "fleet.yaml", DEPLOY / "compose" / "fleet.yaml"):
        assert [gpu.name for gpu in read_fleet(path).gpus] == [f"gpu{i}" for i in GPUS]


# ---- systemd -------------------------------------------------------------------------------------------------------


def test_each_gpu_has_one_ollama_and_one_worker() -> None:
    fleet = read_fleet(DEPLOY / "fleet.yaml")
    for gpu in fleet.gpus:
        number = gpu.name.removeprefix("gpu")
        ollama = unit(DEPLOY / "systemd" / "ollama@.service", number)
        environment = dict(value.split("=", 1) for value in ollama["Service"]["Environment"])
        assert environment["CUDA_VISIBLE_DEVICES"] == number
        assert gpu.address == f"http://{environment['OLLAMA_HOST']}"
        assert environment["OLLAMA_NUM_PARALLEL"] == str(gpu.slots)
        worker = unit(DEPLOY / "systemd" / "hotset-worker@.service", number)
        assert worker["Service"]["ExecStart"][0].endswith(f"/hotset worker --gpu {gpu.name}")
        assert f"ollama@{number}.service" in worker["Unit"]["After"][0].split()


def test_a_stop_is_given_the_time_that_it_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    service = unit(DEPLOY / "systemd" / "hotset-worker@.service")["Service"]
    grace = load_settings({"HOTSET_CONFIG": str(DEPLOY / "hotset.toml")}).stop_grace_s
    # The grace, 5 s to hand back, Celery's own end.
    assert int(service["TimeoutStopSec"][0]) >= grace + 15
    # SIGTERM to the main process alone, which hands its jobs back; SIGKILL to all that is left.
    assert service["KillMode"] == ["mixed"] and service["KillSignal"] == ["SIGTERM"]
    in_containers = load_settings({"HOTSET_CONFIG": str(DEPLOY / "compose" / "hotset.toml.example")}).stop_grace_s
    for name in ("worker0", "worker1"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= in_containers + 15


@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.name)
def test_units_are_whole(path: Path) -> None:
    sections = unit(path)
    assert set(sections) <= {"Unit", "Service", "Install"} and sections["Unit"]["Description"]
    names = {p.name for p in UNITS}
    for key in ("Wants", "Requires", "After", "PartOf"):
        for value in sections["Unit"].get(key, []):
            for other in value.split():
                mine = re.sub(r"@[^.]+\.", "@.", other)
                assert mine in names or not mine.startswith(("hotset", "ollama")), f"{path.name}: {key}={other}"
    if path.suffix == ".service":
        service = sections["Service"]
        assert service["User"] and service["NoNewPrivileges"] == ["yes"] and service["ProtectSystem"] == ["strict"]
        assert service["UMask"] == ["0077"]
        if service["Type"] != ["oneshot"]:
            assert service["Restart"] == ["always"]
            assert sections["Install"]["WantedBy"] == ["hotset.target"]


def valkey(name: str) -> dict[str, str]:
    lines = (DEPLOY / "valkey" / f"{name}.conf").read_text().splitlines()
    return {k: v.strip('"') for k, v in (line.split(maxsplit=1) for line in lines if line and line[0] != "#")}


def test_broker_and_cache_have_their_rules_and_ports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    broker, cache = valkey("broker"), valkey("cache")
    assert {key: broker[key] for key in RULES["broker"]} == RULES["broker"]
    assert cache["maxmemory-policy"].startswith("allkeys-l") and cache["maxmemory"] != "0"
    for config in (DEPLOY / "hotset.toml", DEPLOY / "compose" / "hotset.toml.example"):
        settings = load_settings({"HOTSET_CONFIG": str(config)})
        assert str(urlsplit(settings.broker_url.get_secret_value()).port) == broker["port"]
        assert str(urlsplit(settings.cache_url.get_secret_value()).port) == cache["port"]
    for path in UNITS:
        for line in unit(path, "broker").get("Service", {}).get("ExecStart", []):
            if "valkey-server" in line:
                assert "--bind 127.0.0.1" in line and "/etc/hotset/valkey/broker.conf" in line


# ---- compose -------------------------------------------------------------------------------------------------------


def test_ports_are_bound_to_the_loopback_address() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_images_are_plain_names_with_tags() -> None:
    for name, service in SERVICES.items():
        image = re.sub(r"\$\{\w+:-([^}]+)\}", r"\1", service["image"])
        assert re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)?:[a-z0-9.]+", image), f"{name}: {image}"
        assert not image.endswith(":latest")


def test_services_find_each_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings({"HOTSET_CONFIG": str(DEPLOY / "compose" / "hotset.toml.example")})
    for url in (settings.database_url, settings.broker_url, settings.cache_url):
        assert urlsplit(url.get_secret_value()).hostname in SERVICES
    fleet = read_fleet(DEPLOY / "compose" / "fleet.yaml")
    for gpu in fleet.gpus:
        address = urlsplit(gpu.address or "")
        ollama = SERVICES[address.hostname or ""]
        assert ollama["environment"]["OLLAMA_HOST"].endswith(f":{address.port}")
        assert ollama["environment"]["OLLAMA_NUM_PARALLEL"] == str(gpu.slots)
        worker = SERVICES[gpu.name.replace("gpu", "worker")]
        assert worker["environment"]["HOTSET_GPU"] == gpu.name == worker["command"][-1]
        assert f"{gpu.name}@{worker['hostname']}" in worker["healthcheck"]["test"]


def test_what_is_named_exists_and_what_must_be_healthy_is_asked() -> None:
    for name, service in SERVICES.items():
        for kind in ("secrets", "configs"):
            for used in service.get(kind, []):
                source = used if isinstance(used, str) else used["source"]
                assert source in COMPOSE[kind], f"{name}: {source}"
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"]
        for other, how in (service.get("depends_on") or {}).items():
            if how["condition"] == "service_healthy":
                assert SERVICES[other].get("healthcheck"), f"{name} waits for {other}, whose health nobody asks"
    for config in COMPOSE["configs"].values():
        assert (DEPLOY / "compose" / config["file"]).is_file()


def test_secrets_are_files_that_are_not_in_the_repository() -> None:
    assert set(COMPOSE["secrets"]) == {"postgres_password", "hotset.toml"}
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    assert not (DEPLOY / "compose" / "secrets").exists()
    text = (DEPLOY / "compose" / "compose.yaml").read_text()
    assert not re.search(r"^\s+POSTGRES_PASSWORD:", text, re.MULTILINE)
    assert "/secrets/" in (DEPLOY / "compose" / ".gitignore").read_text()


def test_the_image_has_what_the_package_is_built_from() -> None:
    text = (DEPLOY / "compose" / "Dockerfile").read_text()
    copied = {word.strip("/") for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for word in line.split()}
    assert copied == {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "app", "workers", "migrations"}
    assert all((ROOT / name).exists() for name in copied)
    assert re.search(r"^USER (?!root)", text, re.MULTILINE)
