"""One frozen Settings, and the only reader of the environment and of hotset.toml.

Order, the first wins: `HOTSET_*` in the environment, `hotset.toml` in the working folder (or `HOTSET_CONFIG`),
`running.toml` in the home folder (what `hotset up` left there), the defaults below. An empty variable is not set.
OLLAMA_HOST is the default of `model_server` alone.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from hotset.errors import InvalidSettings, did_you_mean

_PREFIX = "HOTSET_"
#: Read by others than Settings: where the file is, what tests use.
_NOT_SETTINGS = {"CONFIG"}

_DATABASE = SecretStr("postgresql://localhost/hotset")
_BROKER = SecretStr("redis://127.0.0.1:6379/0")
_CACHE = SecretStr("redis://127.0.0.1:6380/0")

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]
_AtLeastOne = Annotated[int, Field(ge=1)]
_Kept = Annotated[int, Field(ge=0, le=36_500)]
#: The table refuses more than a MiB.
_MessageBytes = Annotated[int, Field(ge=1, le=1_048_576)]


def _mapping(value: Any) -> Any:
    """The environment has text only."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        raise ValueError('it is not a JSON object such as {"research": 2}') from None


_Weights = Annotated[dict[str, _Positive], BeforeValidator(_mapping)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, with its default. URLs may hold passwords: they are secrets and print as `**********`."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    #: The folder of what `hotset up` starts: data, logs, addresses.
    home: Path = Path(".hotset")
    #: Postgres, the truth.
    database_url: SecretStr = _DATABASE
    #: Wall seconds that workers and clients wait for Postgres's answer; then the connection is taken for dead.
    database_timeout_s: _Positive = 30.0
    #: Redis or Valkey with `maxmemory-policy noeviction` and AOF: it orders what waits.
    broker_url: SecretStr = _BROKER
    #: Fernet keys with commas between them, so that prompts, answers and messages are encrypted in Postgres: the first
    #: encrypts, all decrypt. None: they are kept in the clear. Needs `hotset[encryption]`.
    encryption_keys: SecretStr | None = None
    #: Another Redis or Valkey, which may forget: wake-ups and streams of tokens.
    cache_url: SecretStr = _CACHE
    #: The address of the model server, for GPUs whose fleet entry names none.
    model_server: str = "http://127.0.0.1:11434"
    #: The fleet file; None: the classic 4 GB setting.
    fleet: Path | None = None
    #: A YAML file with users' own agents, beside the catalogue.
    agents: Path | None = None
    #: The GPU that a worker serves; None: the fleet's only one.
    gpu: str | None = None
    #: Who jobs belong to that do not say it.
    tenant: str = "default"
    #: Shares of tenants where several wait; 1 for those that are not named. In the environment a JSON object.
    tenant_weights: _Weights = field(default_factory=dict)
    #: Wall seconds per model second: 1 for real servers, less to rehearse faster.
    scale: _Positive = 1.0
    #: What the policy aims at: throughput, balanced or deadlines.
    objective: str = "balanced"
    #: End waiting jobs as expired once they cannot start by their deadline any more; else they run late.
    expire_hopeless: bool = False
    #: Wall seconds that a claim holds without a heartbeat: how long a dead worker keeps its jobs.
    lease_s: _Positive = 15.0
    #: Wall seconds between heartbeats; several fit into a lease.
    heartbeat_s: _Positive = 3.0
    #: How often a job that failed is tried again, unless it says so itself.
    max_retries: _Count = 3
    #: First back-off of a retry, in model seconds; it doubles.
    retry_backoff_s: _Positive = 2.0
    #: A job that lost its lease so many times is quarantined.
    max_crashes: _AtLeastOne = 3
    #: A longer prompt is refused at submit.
    max_prompt_chars: _AtLeastOne = 200_000
    #: Wall seconds a model may take to its first token.
    first_token_timeout_s: _Positive = 120.0
    #: Wall seconds a model may take between tokens.
    stall_timeout_s: _Positive = 60.0
    #: Wall seconds a model may take to load.
    load_timeout_s: _Positive = 330.0
    #: A YAML file with limits on what is submitted, per tenant, agent and queue; None: nothing is limited.
    limits: Path | None = None
    #: With limits per minute: refuse what cannot be counted while the cache is away, in place of letting it through.
    limits_required: bool = False
    #: A command that restarts the model server when it answers but generates nothing; run without a shell.
    model_server_restart: str | None = None
    #: Rows that one transaction of `submit_many` holds.
    submit_chunk: _AtLeastOne = 10_000
    #: `user:password` of `hotset flower`; without it Flower listens to this machine only.
    flower_auth: SecretStr | None = None
    #: Wall seconds that running jobs get when a worker stops; then they are handed back to the queue.
    stop_grace_s: float = 10.0
    #: A row that nobody published is published by the relay after so many wall seconds.
    relay_after_s: _Positive = 2.0
    #: Finished jobs are deleted with their results after so many days; 0: never.
    keep_jobs_days: _Kept = 30
    #: Whole months of the audit that are kept beside the running one; 0: all.
    keep_audit_months: _Kept = 13
    #: A memory that nobody used for so many wall hours goes cold: its text is kept compressed, and searched as before.
    memory_cold_hours: _Positive = 24.0
    #: Where texts beyond 200 tokens are cut: `sentences`, after as many as fit, with an overlap, or `semantic`, where
    #: the meaning changes most between two of them (costs a run of the encoder for each).
    memory_chunking: Literal["sentences", "semantic"] = "sentences"
    #: Unimportant episodes are forgotten after so many days (pinned and important ones stay); 0: never.
    keep_memory_days: _Kept = 7
    #: Workers have the light tier summarise closed days, weeks and months of memories, by low-priority jobs.
    memory_summaries: bool = False
    #: Who finds subject and property of statements: `rules`, or `model`: workers ask the light tier as well, by
    #: low-priority jobs of up to twenty statements.
    memory_keys: Literal["rules", "model"] = "rules"
    #: Handled messages and dead letters are deleted after so many days, keys of sent messages too; 0: never.
    keep_messages_days: _Kept = 7
    #: Bytes of JSON that a message may have.
    max_message_bytes: _MessageBytes = 65_536
    #: A message that was delivered so often and not acknowledged is a dead letter.
    max_deliveries: _AtLeastOne = 5
    #: For debugging: a file to which a worker appends what its policy saw and answered (JSON lines).
    decisions: Path | None = None
    #: Wall seconds between two seals of the audit: how long what is new in it can be changed unseen.
    audit_seal_s: _Positive = 30.0
    #: A file to which each seal's hash is appended, out of the database's reach; None: the log alone has it.
    audit_anchor: Path | None = None


_NAMES = tuple(f.name for f in fields(Settings))
_CHECK = TypeAdapter(Settings)


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """The settings in force. `overrides` win over everything (command-line options).

    Raises InvalidSettings: an unknown name, with the nearest known one; a value of the wrong type; an unreadable file.
    """
    env = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}

    def shown(name: str, source: str) -> str:
        return _PREFIX + name.upper() if source == "environment" else name

    def take(source: str, more: Mapping[str, Any]) -> None:
        for name, value in more.items():
            if name not in _NAMES:
                known = [_PREFIX + n.upper() for n in _NAMES] if source == "environment" else _NAMES
                raise InvalidSettings(
                    f"{source}: there is no setting {shown(name, source)!r}.",
                    remedy=did_you_mean(shown(name, source), known, "hotset config"),
                )
            values[name] = value
            origin[name] = source

    from_env = {
        key[len(_PREFIX) :].lower(): value
        for key, value in env.items()
        if key.startswith(_PREFIX)
        and value.strip()
        and key[len(_PREFIX) :] not in _NOT_SETTINGS
        and not key.startswith("HOTSET_TEST_")
    }
    named = env.get("HOTSET_CONFIG", "").strip()
    config = Path(named or "hotset.toml")
    if named and not config.exists():
        raise InvalidSettings(f"HOTSET_CONFIG names {config}, which does not exist.", remedy="Make it, or unset it.")
    from_file = _read_toml(config)
    home = overrides.get("home") or from_env.get("home") or from_file.get("home")
    running = Path(home if isinstance(home, str | Path) else ".hotset") / "running.toml"
    take(str(running), _read_toml(running))
    take(str(config), from_file)
    take("environment", from_env)
    take("command line", {k: v for k, v in overrides.items() if v is not None})
    if "model_server" not in values and env.get("OLLAMA_HOST", "").strip():
        values["model_server"] = ollama_address(env["OLLAMA_HOST"])
    try:
        settings = _CHECK.validate_python(values)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        source = origin.get(name, "settings")
        raise InvalidSettings(f"{source}: {shown(name, source)}: {first['msg']}.") from None
    if settings.heartbeat_s >= settings.lease_s:
        raise InvalidSettings(
            f"heartbeat_s ({settings.heartbeat_s:g}) is not less than lease_s ({settings.lease_s:g}): no lease holds.",
            remedy="Make the lease several heartbeats long.",
        )
    return settings


def ollama_address(host: str) -> str:
    """A base URL from what Ollama's users put into OLLAMA_HOST: `host`, `host:port`, `:port`, IPv6 or a URL.

    Without a scheme the port is 11434 unless given. Raises InvalidSettings for what is no address.
    """
    scheme, _, rest = host.strip().strip("\"'").rstrip("/").rpartition("://")
    place, slash, path = rest.partition("/")
    user, at, place = place.rpartition("@")
    if place.count(":") > 1 and not place.startswith("["):
        place = f"[{place}]"
    try:
        url = urlsplit(f"http://{place}")
        name, port = url.hostname or "127.0.0.1", url.port
        if scheme not in ("", "http", "https"):
            raise ValueError(scheme)
    except ValueError:
        raise InvalidSettings(
            "OLLAMA_HOST is no address of a server.", remedy="It looks like gpu1, gpu1:11434 or http://gpu1:11434."
        ) from None
    # 0.0.0.0 and :: are where a server listens, not where a client connects.
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)  # noqa: S104
    name = f"[{name}]" if ":" in name else name
    port = port if port is not None or scheme else 11434
    return f"{scheme or 'http'}://{user}{at}{name}{'' if port is None else f':{port}'}{slash}{path}"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise InvalidSettings(f"{path}: {e}.", remedy="Mend the file or remove it.") from e
