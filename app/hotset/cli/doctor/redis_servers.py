"""The broker must forget nothing, the cache may: two Redis servers with opposite rules."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

import redis

from hotset.cli.doctor.finding import Finding, failed, ok, skipped, warning
from hotset.cli.doctor.world import World, connect

Role = Literal["broker", "cache"]

_OLDEST = (6, 2)
_PINGS = 20
_SLOW_MS = 5.0
_FULL = 0.8
_MIB = 1024 * 1024


def check_redis(world: World, role: Role) -> Iterator[Finding]:
    secret = world.settings.broker_url if role == "broker" else world.settings.cache_url
    with connect(secret.get_secret_value(), f"{role}_url", world.answer_s) as client:
        place = _place(client)
        try:
            info = cast(dict[str, Any], client.info())
            yield _version(role, info, place)
            if info.get("cluster_enabled"):
                yield failed(
                    f"{role}.cluster", "it is a Redis Cluster", "Use one primary, with a replica to fail over to."
                )
                return
            if info.get("role") not in (None, "master"):
                yield failed(
                    f"{role}.role", f"it is a {info['role']}, which takes no writes", "Give the primary's address."
                )
                return
            rules = _rules(client)
            yield from _broker_rules(info, rules) if role == "broker" else _cache_rules(info, rules)
            yield _memory(role, info)
            yield _latency(role, client)
        except redis.AuthenticationError as e:
            yield failed(
                role, f"{place} refuses the password: {e}", f"Put user and password into HOTSET_{role.upper()}_URL."
            )
        except (redis.ConnectionError, redis.TimeoutError) as e:
            yield failed(
                role,
                f"Redis (the {role}) does not answer at {place}: {e}",
                f"Start it (`hotset up` starts an embedded one) or set HOTSET_{role.upper()}_URL.",
            )


def check_apart(world: World) -> Iterator[Finding]:
    """Broker and cache are two servers: compared by the id that each run of a server draws, not by address."""
    name = "broker.apart"
    ids: list[str] = []
    for role, secret in (("broker_url", world.settings.broker_url), ("cache_url", world.settings.cache_url)):
        with connect(secret.get_secret_value(), role, world.answer_s) as client:
            try:
                ids.append(str(cast(dict[str, Any], client.info("server")).get("run_id", "")))
            except redis.RedisError:
                yield skipped(name, f"{role} does not answer")
                return
    if ids[0] and ids[0] == ids[1]:
        yield failed(
            name,
            "broker and cache are one server: cached data would crowd jobs out, or nothing is ever evicted",
            "Start a second Redis for the cache and set HOTSET_CACHE_URL to it.",
        )
    else:
        yield ok(name, "broker and cache are two servers")


def _version(role: Role, info: Mapping[str, Any], place: str) -> Finding:
    valkey = info.get("valkey_version")
    shown = f"Valkey {valkey} at {place}" if valkey else f"Redis {info.get('redis_version')} at {place}"
    # Valkey tells the version of Redis that it stands for, too.
    if _numbers(str(info.get("redis_version", ""))) < _OLDEST:
        return failed(role, shown, "Move to Redis 6.2 or newer, or to Valkey.")
    return ok(role, shown)


def _rules(client: redis.Redis) -> dict[str, str]:
    """What CONFIG tells; nothing where a provider forbids it."""
    try:
        return cast(dict[str, str], client.config_get("append*", "maxmemory-policy"))
    except redis.ResponseError:
        return {}


def _broker_rules(info: Mapping[str, Any], rules: Mapping[str, str]) -> Iterator[Finding]:
    name = "broker.persistence"
    if not info.get("aof_enabled"):
        yield failed(
            name,
            "no append-only file: a restart forgets messages of plain Celery producers, and others for some 20 s",
            "Set `appendonly yes` in its configuration (now: CONFIG SET appendonly yes).",
        )
    elif info.get("aof_last_write_status", "ok") != "ok":
        yield failed(name, "its last write to the append-only file failed", "Look into its log; is the disk full?")
    elif rules.get("appendfsync") == "no":
        yield warning(
            name,
            "append-only file, written when the system likes to (appendfsync no)",
            "Set `appendfsync everysec`: a crash then costs a second at most.",
        )
    else:
        yield ok(name, f"append-only file, appendfsync {rules.get('appendfsync', 'unknown')}")
    policy = rules.get("maxmemory-policy") or str(info.get("maxmemory_policy", ""))
    if policy != "noeviction":
        yield failed(
            "broker.eviction",
            f"maxmemory-policy {policy}: when memory is short it throws jobs away",
            "Set `maxmemory-policy noeviction` in its configuration (now: CONFIG SET maxmemory-policy noeviction).",
        )
    else:
        yield ok("broker.eviction", "noeviction")


def _cache_rules(info: Mapping[str, Any], rules: Mapping[str, str]) -> Iterator[Finding]:
    name = "cache.eviction"
    policy = rules.get("maxmemory-policy") or str(info.get("maxmemory_policy", ""))
    limit = int(info.get("maxmemory", 0))
    if policy == "noeviction" or not limit:
        shown = f"maxmemory-policy {policy}, maxmemory {limit // _MIB or 'unlimited'}"
        why = "it refuses writes when it is full" if limit else "it grows without bound"
        yield warning(name, f"{shown}: {why}", "Set `maxmemory 128mb` (or more) and `maxmemory-policy allkeys-lfu`.")
    else:
        yield ok(name, f"{policy} beyond {limit // _MIB} MiB")


def _memory(role: Role, info: Mapping[str, Any]) -> Finding:
    name = f"{role}.memory"
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    shown = f"{used / _MIB:,.1f} MiB in use" + (f" of {limit // _MIB:,}" if limit else "")
    if role == "broker" and limit and used > _FULL * limit:
        return warning(name, shown, "Raise its maxmemory: when it is full, no job can be published.")
    return ok(name, shown)


def _latency(role: Role, client: redis.Redis) -> Finding:
    taken = []
    for _ in range(_PINGS):
        began = time.perf_counter()
        client.ping()
        taken.append((time.perf_counter() - began) * 1000)
    # The best of them: the others tell how busy this machine is.
    best = min(taken)
    shown = f"{best:.2f} ms a round trip"
    if best > _SLOW_MS:
        return warning(f"{role}.latency", shown, "Put it nearer to the workers: each job costs some round trips.")
    return ok(f"{role}.latency", shown)


def _place(client: redis.Redis) -> str:
    where = client.connection_pool.connection_kwargs
    return str(where["path"]) if "path" in where else f"{where.get('host')}:{where.get('port')}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
