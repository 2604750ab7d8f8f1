import asyncio

import pytest

from hotset.fleet import Model
from hotset.modelserver.admission import Admission, Evict, Load, Rules, TooLarge, Use, decide
from hotset.modelserver.options import LoadOptions
from hotset.modelserver.residents import Resident

PLAIN = LoadOptions()


def resident(name: str, size_mb: float, *, keep_alive_s: float = 300.0, users: int = 0, dead: str = "") -> Resident:
    return Resident(
        name=name,
        size_mb=size_mb,
        vram_mb=size_mb,
        options=PLAIN,
        context=4096,
        keep_alive_s=keep_alive_s,
        turns=asyncio.Semaphore(2),
        users=users,
        dead=dead,
    )


def ask(size_mb: float, *residents: Resident, admission: Admission = "exact", max_loaded: int = 0, options=PLAIN):  # type: ignore[no-untyped-def]
    rules = Rules(vram_mb=1000, admission=admission, max_loaded=max_loaded)
    return decide(Model("m", size_mb, 1.0), options, {each.name: each for each in residents}, rules)


def test_use_what_is_there() -> None:
    there = resident("m", 900)
    assert ask(900, there) == Use(there)


def test_other_options_or_a_dead_process_mean_a_reload() -> None:
    there = resident("m", 900)
    assert ask(900, there, options=LoadOptions((("num_ctx", 8),))) == Evict(there, "options differ: num_ctx unset -> 8")
    dead = resident("m", 900, dead="exit status 2")
    assert ask(900, dead) == Evict(dead, "its process has died")


@pytest.mark.parametrize(
    ("admission", "size_mb", "fits"), [("exact", 500, True), ("exact", 501, False), ("ollama", 400, True)]
)
def test_room_beside_another(admission: Admission, size_mb: float, fits: bool) -> None:
    other = resident("other", 500)
    decision = ask(size_mb, other, admission=admission)
    assert isinstance(decision, Load) if fits else isinstance(decision, Evict)


def test_ollama_leaves_a_fifth_free() -> None:
    assert isinstance(ask(401, resident("other", 500), admission="ollama"), Evict)
    assert ask(1000, admission="ollama") == Load(1000, "asked for and not resident")


def test_too_large_for_the_gpu() -> None:
    assert isinstance(ask(1001), TooLarge)
    decision = ask(3000, admission="ollama")
    assert isinstance(decision, Load) and decision.vram_mb == 1000


@pytest.mark.parametrize(("admission", "most"), [("ollama", 3), ("exact", None)])
def test_how_many_models_at_once(admission: Admission, most: int | None) -> None:
    four = [resident(name, 1) for name in "abcd"]
    assert isinstance(ask(1, *four[:3], admission=admission), Evict if most else Load)
    assert isinstance(ask(1, *four, admission=admission, max_loaded=4), Evict)


def test_the_victim() -> None:
    busy_short = resident("a", 300, keep_alive_s=1, users=1)
    idle_long = resident("b", 300, keep_alive_s=900)
    idle_short = resident("z", 300, keep_alive_s=60)
    idle_as_short = resident("y", 300, keep_alive_s=60)
    for others, expected in [
        ([busy_short, idle_long], idle_long),
        ([busy_short, idle_long, idle_short], idle_short),
        ([idle_short, idle_as_short], idle_as_short),
        ([busy_short], busy_short),
    ]:
        decision = ask(900, *others)
        assert isinstance(decision, Evict) and decision.resident is expected
