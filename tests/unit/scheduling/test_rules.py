"""Each rule of the policy on a snapshot of its own: what must be answered, and what must not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hotset.fleet import Model
from hotset.scheduling import (
    Decision,
    GiveUp,
    GpuView,
    Lane,
    Load,
    Options,
    QueueView,
    Resident,
    Run,
    Snapshot,
    Switch,
    Wait,
    decide,
    others,
)

MODELS = {"tiny": Model("tiny", 800, 2.0), "qwen": Model("qwen", 2500, 5.0), "deep": Model("deep", 3200, 6.0)}
RUN_S = {"tiny": 2.0, "qwen": 8.0, "deep": 25.0}
NOW = 10_000.0
EMPTY = GpuView("gpu0", 3686, 2)


def lane(
    waiting: int = 1,
    *,
    age: float = 1.0,
    slack: float | None = 500.0,
    priority: int = 1,
    alone: bool = False,
    savable: int | None = None,
) -> Lane:
    """A lane whose jobs can all meet their deadline (slack) or, without slack, none can."""
    count = (waiting if slack is not None else 0) if savable is None else savable
    deadline = NOW + slack if slack is not None else None
    name = ("low", "normal", "high", "urgent")[priority] + ("-alone" if alone else "")
    return Lane(name, priority, waiting, NOW - age, count, deadline, alone)


def queue(model: str, *lanes: Lane) -> QueueView:
    return QueueView(f"q-{model}", model, RUN_S[model], lanes)


def hot(*models: str, running: dict[str, int] | None = None, since: float = 1000.0, **view: object) -> GpuView:
    """gpu0 with these models, loaded `since` seconds ago."""
    runs = running or {}
    residents = tuple(Resident(m, MODELS[m].size_mb, NOW - since, runs.get(m, 0)) for m in models)
    return replace(EMPTY, residents=residents, busy=sum(runs.values()), **view)  # type: ignore[arg-type]


def snapshot(
    *queues: QueueView,
    gpu: GpuView = EMPTY,
    rest: tuple[GpuView, ...] = (),
    models: Mapping[str, Model] = MODELS,
    max_wait_s: float = 900.0,
) -> Snapshot:
    return Snapshot(NOW, queues, gpu, models, RUN_S, max_wait_s, others(rest))


def answer(*queues: QueueView, gpu: GpuView = EMPTY, rest: tuple[GpuView, ...] = ()) -> tuple[Decision, ...]:
    return decide(snapshot(*queues, gpu=gpu, rest=rest))


def runs(decisions: tuple[Decision, ...]) -> list[tuple[str, str, str]]:
    return [(d.model, d.lane, d.selector) for d in decisions if isinstance(d, Run)]


def load(decisions: tuple[Decision, ...]) -> tuple[str, tuple[str, ...]] | None:
    loads = [(d.model, d.victims) for d in decisions if isinstance(d, Load)]
    assert len(loads) <= 1
    return loads[0] if loads else None


# ---- runs on hot models ----------------------------------------------------------------------------------------


def test_nothing_waits() -> None:
    assert isinstance(answer()[0], Wait)


def test_all_free_slots_are_granted_at_once() -> None:
    assert runs(answer(queue("tiny", lane(5)), gpu=hot("tiny"))) == [("tiny", "normal", "savable")] * 2
    assert len(runs(answer(queue("tiny", lane(5)), gpu=hot("tiny", running={"tiny": 1})))) == 1
    assert len(runs(answer(queue("tiny", lane(1)), gpu=hot("tiny")))) == 1


def test_savable_jobs_go_by_deadline_and_before_the_hopeless() -> None:
    gpu = hot("tiny", "qwen", running={"tiny": 1})
    early, late = queue("qwen", lane(slack=20)), queue("tiny", lane(slack=30))
    assert runs(answer(late, early, gpu=gpu)) == [("qwen", "normal", "savable")]
    hopeless = queue("tiny", lane(slack=None, age=50))
    assert runs(answer(hopeless, early, gpu=gpu)) == [("qwen", "normal", "savable")]
    assert runs(answer(hopeless, gpu=gpu)) == [("tiny", "normal", "oldest")]


def test_a_lane_with_both_kinds_serves_the_savable_first() -> None:
    both = queue("tiny", lane(2, age=50, savable=1, slack=10))
    assert runs(answer(both, gpu=hot("tiny"))) == [("tiny", "normal", "savable"), ("tiny", "normal", "oldest")]


def test_higher_priority_goes_before_an_earlier_deadline() -> None:
    gpu = hot("tiny", running={"tiny": 1})
    lanes = queue("tiny", lane(slack=5), lane(slack=300, priority=3))
    assert runs(answer(lanes, gpu=gpu)) == [("tiny", "urgent", "savable")]


def test_an_overdue_job_goes_before_any_priority() -> None:
    gpu = hot("tiny", running={"tiny": 1})
    lanes = queue("tiny", lane(slack=5, priority=3), lane(age=541, slack=None, priority=0))
    assert runs(answer(lanes, gpu=gpu)) == [("tiny", "low", "overdue")]
    younger = queue("tiny", lane(slack=5, priority=3), lane(age=539, slack=None, priority=0))
    assert runs(answer(younger, gpu=gpu)) == [("tiny", "urgent", "savable")]


def test_of_two_overdue_jobs_the_older_goes_first() -> None:
    gpu = hot("tiny", "qwen", running={"tiny": 1})
    assert runs(answer(queue("tiny", lane(age=600)), queue("qwen", lane(age=700)), gpu=gpu))[0][0] == "qwen"


def test_a_hopeless_job_is_served_first_once_it_waits_out_of_proportion() -> None:
    gpu = hot("tiny", "qwen", running={"tiny": 1})
    others_ = queue("qwen", lane(12))  # 49 s for all on two slots
    assert runs(answer(others_, queue("tiny", lane(age=70, slack=None)), gpu=gpu)) == [("qwen", "normal", "savable")]
    assert runs(answer(others_, queue("tiny", lane(age=80, slack=None)), gpu=gpu)) == [("tiny", "normal", "overdue")]
    urgent = queue("qwen", lane(12, priority=3))
    assert runs(answer(urgent, queue("tiny", lane(age=80, slack=None)), gpu=gpu)) == [("qwen", "urgent", "savable")]


def test_of_those_that_can_wait_or_are_hopeless_the_shortest_goes_first() -> None:
    gpu = hot("tiny", "qwen", running={"tiny": 1})
    for slack in (500.0, None):
        two = (queue("qwen", lane(age=40, slack=slack)), queue("tiny", lane(age=5, slack=slack)))
        assert runs(answer(*two, gpu=gpu))[0][0] == "tiny"


# ---- suspects ----------------------------------------------------------------------------------------------------


def test_a_suspect_runs_on_an_empty_gpu_and_nothing_beside_it() -> None:
    suspect = queue("tiny", lane(2, alone=True, age=50))
    assert runs(answer(suspect, gpu=hot("tiny"))) == [("tiny", "normal-alone", "oldest")]
    assert runs(answer(suspect, gpu=hot("tiny", running={"tiny": 1}))) == []
    alone = hot("tiny", running={"tiny": 1}, alone=True)
    assert isinstance(answer(queue("tiny", lane(5)), gpu=alone)[0], Wait)


def test_a_young_suspect_gives_way_to_the_others() -> None:
    both = queue("tiny", lane(1), lane(1, alone=True, age=50))
    assert runs(answer(both, gpu=hot("tiny"))) == [("tiny", "normal", "savable")]
    assert runs(answer(both, gpu=hot("tiny", running={"tiny": 1}))) == [("tiny", "normal", "savable")]


def test_a_suspect_that_is_due_empties_the_gpu_then_runs() -> None:
    both = queue("tiny", lane(9), lane(1, alone=True, age=61))
    (held,) = answer(both, gpu=hot("tiny", running={"tiny": 1}))
    assert isinstance(held, Wait)
    assert "empties for a suspect" in held.reason
    assert runs(answer(both, gpu=hot("tiny"))) == [("tiny", "normal-alone", "overdue")]


def test_all_suspects_that_are_due_run_in_one_drain() -> None:
    several = queue("tiny", lane(9, age=59), lane(3, alone=True, age=61)), queue("qwen", lane(1, alone=True, age=62))
    assert runs(answer(*several, gpu=hot("tiny", "qwen"))) == [("qwen", "normal-alone", "overdue")]
    assert runs(answer(several[0], gpu=hot("tiny", "qwen"))) == [("tiny", "normal-alone", "overdue")]


def test_a_suspect_is_due_in_overload_too() -> None:
    flood = queue("tiny", lane(900, age=500), lane(1, alone=True, age=400))
    assert runs(answer(flood, gpu=hot("tiny"))) == [("tiny", "normal-alone", "overdue")]


def test_where_waits_are_short_a_suspect_is_due_no_later_than_the_overdue() -> None:
    both = queue("tiny", lane(9), lane(1, alone=True, age=25))
    assert runs(decide(snapshot(both, gpu=hot("tiny"), max_wait_s=40))) == [("tiny", "normal-alone", "overdue")]


def test_an_older_overdue_job_runs_before_the_suspect() -> None:
    both = queue("tiny", lane(1, age=700, slack=None), lane(1, alone=True, age=600))
    assert runs(answer(both, gpu=hot("tiny"))) == [("tiny", "normal", "overdue")]


def test_a_suspect_of_a_cold_model_gets_its_load() -> None:
    assert load(answer(queue("deep", lane(alone=True, slack=None)), gpu=hot("qwen"))) == ("deep", ("qwen",))


# ---- loads that cost nobody --------------------------------------------------------------------------------------


def test_an_empty_gpu_loads_by_jobs_for_the_seconds() -> None:
    assert load(answer(queue("deep", lane(2)), queue("tiny", lane(2)))) == ("tiny", ())
    assert load(answer(queue("deep", lane(1)), queue("qwen", lane(1)))) == ("qwen", ())
    assert load(answer(queue("deep", lane(1, age=500)), queue("qwen", lane(1)))) == ("deep", ()), "age weighs"


def test_a_handful_on_an_idle_gpu_is_planned_with_its_deadlines() -> None:
    jobs = (queue("tiny", lane(3)), queue("qwen", lane(2, slack=6)))
    assert load(answer(*jobs)) == ("qwen", ()), "tiny first would be too late for both of qwen"
    assert load(answer(jobs[0], queue("qwen", lane(2, slack=None)))) == ("tiny", ())
    assert load(answer(jobs[0], queue("qwen", lane(10, slack=6)))) == ("tiny", ()), "no handful: jobs for the seconds"


def test_long_runs_do_not_join_when_a_better_bargain_could_have_the_place_sooner() -> None:
    models = {**MODELS, "long": Model("long", 1000, 1.0), "wide": Model("wide", 3200, 1.0)}
    gpu, long, wide = hot("tiny"), QueueView("l", "long", 25.0, (lane(3),)), QueueView("w", "wide", 12.0, (lane(2),))
    assert load(decide(snapshot(queue("tiny", lane()), long, wide, gpu=gpu, models=models))) is None
    assert load(decide(snapshot(queue("tiny", lane(40)), long, wide, gpu=gpu, models=models))) == ("long", ())
    assert load(decide(snapshot(queue("tiny", lane()), long, gpu=gpu, models=models))) == ("long", ())


def test_priority_weighs_in_the_choice_of_the_next_model() -> None:
    two = (queue("qwen", lane(2)), queue("deep", lane(2, priority=3)))
    assert load(answer(*two)) == ("deep", ())


def test_a_cold_model_loads_into_free_vram_beside_a_busy_one() -> None:
    gpu = hot("qwen", running={"qwen": 1}, since=0)
    decisions = answer(queue("qwen", lane(5)), queue("tiny", lane()), gpu=gpu)
    assert load(decisions) == ("tiny", ())
    assert runs(decisions) == [("qwen", "normal", "savable")]


def test_an_idle_model_makes_room_without_waiting_for_residency() -> None:
    assert load(answer(queue("deep", lane()), gpu=hot("qwen", since=0))) == ("deep", ("qwen",))


def test_while_the_last_request_runs_nothing_is_decided() -> None:
    gpu = hot("qwen", running={"qwen": 1}, since=0)
    (wait,) = answer(queue("deep", lane()), gpu=gpu)
    assert isinstance(wait, Wait)
    assert "deep" in wait.reason
    assert wait.until is not None
    assert wait.until > NOW


def test_an_overdue_job_is_chosen_before_a_better_bargain() -> None:
    two = (queue("tiny", lane(50)), queue("deep", lane(age=600)))
    assert load(answer(*two)) == ("deep", ())


# ---- victims -------------------------------------------------------------------------------------------------------


def test_victims_are_a_minimal_set_of_least_harm() -> None:
    models = {**MODELS, "a": Model("a", 1000, 9.0), "b": Model("b", 1000, 1.0)}
    gpu = GpuView("gpu0", 3686, 2, residents=(Resident("a", 1000, 0), Resident("b", 1000, 0), Resident("tiny", 800, 0)))
    shot = snapshot(QueueView("q", "qwen", 8, (lane(),)), gpu=gpu, models=models)
    # 1614 MiB are missing: any two of them would do (a+b, a+tiny, b+tiny): b and tiny are the cheapest to load again.
    assert load(decide(shot)) == ("qwen", ("b", "tiny"))
    busy = replace(gpu, busy=1, residents=(gpu.residents[0], replace(gpu.residents[1], running=1), gpu.residents[2]))
    assert load(decide(replace(shot, gpu=busy))) == ("qwen", ("a", "tiny"))


def test_a_model_with_waiting_work_is_the_last_to_go() -> None:
    gpu = hot("tiny", "qwen")
    models = {**MODELS, "half": Model("half", 700, 3.0)}
    shot = snapshot(QueueView("h", "half", 5, (lane(),)), queue("tiny", lane(3)), gpu=gpu, models=models)
    assert load(decide(shot)) == ("half", ("qwen",))


def test_a_strangers_model_counts_and_may_go() -> None:
    gpu = replace(EMPTY, residents=(Resident("stranger:70b", 3000, 0),))
    assert load(answer(queue("tiny", lane()), gpu=replace(gpu, vram_mb=3900))) == ("tiny", ())
    assert load(answer(queue("qwen", lane()), gpu=gpu)) == ("qwen", ("stranger:70b",))


def test_many_residents_are_taken_one_by_one() -> None:
    residents = tuple(Resident(f"m{i}", 300, 0) for i in range(12))
    models = {**MODELS, **{r.model: Model(r.model, 300, 1.0 + i) for i, r in enumerate(residents)}}
    gpu = GpuView("gpu0", 3686, 2, residents=residents)
    shot = snapshot(queue("tiny", lane()), gpu=gpu, models=models)
    assert load(decide(shot)) == ("tiny", ("m0", "m1", "m2"))


def test_what_never_fits_is_never_loaded() -> None:
    models = {**MODELS, "huge": Model("huge", 9000, 30)}
    shot = snapshot(QueueView("h", "huge", 5, (lane(age=800),)), gpu=hot("tiny"), models=models)
    (wait,) = decide(shot)
    assert isinstance(wait, Wait)
    assert "9000 MiB" in wait.reason
    (wait,) = decide(replace(shot, models=MODELS))
    assert isinstance(wait, Wait)
    assert "not known" in wait.reason


# ---- forced switches -----------------------------------------------------------------------------------------------


def test_a_deadline_about_to_be_missed_forces_a_switch() -> None:
    busy = queue("qwen", lane(4))
    # slack ≤ 6 s load + half a drain of 8 s + 15 s = 25 s
    gpu = hot("qwen", running={"qwen": 1}, since=300)
    assert load(answer(busy, queue("deep", lane(slack=24)), gpu=gpu)) == ("deep", ("qwen",))
    assert load(answer(busy, queue("deep", lane(slack=26)), gpu=gpu)) is None
    assert load(answer(busy, queue("deep", lane(slack=None)), gpu=gpu)) is None, "hopeless already"


def test_a_deadline_must_be_worth_what_others_lose_by_the_switch() -> None:
    gpu = hot("qwen", running={"qwen": 1}, since=2000)
    # 8 s of drain and twice 6 s of load for each job of qwen; 80 s for each of deep's
    assert load(answer(queue("qwen", lane(4)), queue("deep", lane(slack=20)), gpu=gpu)) == ("deep", ("qwen",))
    assert load(answer(queue("qwen", lane(5)), queue("deep", lane(slack=20)), gpu=gpu)) is None
    two = (queue("qwen", lane(5)), queue("deep", lane(2, slack=20)))
    assert load(answer(*two, gpu=gpu)) == ("deep", ("qwen",))
    one = (queue("qwen", lane(5)), queue("deep", lane(slack=20)))
    assert load(decide(snapshot(*one, gpu=gpu), Options("deadlines"))) == ("deep", ("qwen",))


def test_no_switch_before_the_minimum_residency() -> None:
    work = (queue("qwen", lane(4)), queue("deep", lane(slack=24)))  # little work: 2.5 × 20 s; it costs 14 s: × 0.84
    assert load(answer(*work, gpu=hot("qwen", running={"qwen": 1}, since=41.7))) is None
    assert load(answer(*work, gpu=hot("qwen", running={"qwen": 1}, since=41.9))) == ("deep", ("qwen",))


def test_objectives_differ_in_patience() -> None:
    work = (queue("qwen", lane(3)), queue("deep", lane(slack=10)))
    at = {}
    for objective in ("deadlines", "balanced", "throughput"):
        switched = [
            since
            for since in range(0, 400, 5)
            if load(decide(snapshot(*work, gpu=hot("qwen", since=since)), Options(objective)))
        ]
        at[objective] = min(switched)
    assert at["deadlines"] < at["balanced"] < at["throughput"]


def test_an_overdue_cold_job_forces_a_switch_the_oldest_first() -> None:
    gpu = hot("qwen", running={"qwen": 1})
    queues = (queue("qwen", lane(4)), queue("tiny", lane(age=860, slack=None)), queue("deep", lane(age=870)))
    shrunk = replace(gpu, vram_mb=3250)  # tiny cannot join qwen
    assert load(answer(*queues, gpu=shrunk)) == ("deep", ("qwen",))


def test_a_switch_for_an_overdue_job_waits_until_the_late_could_not_all_be_in_time() -> None:
    gpu = replace(hot("qwen", running={"qwen": 1}), vram_mb=3250)  # tiny cannot join qwen

    def switches(age: float, late: int = 1, *beside: QueueView) -> bool:
        deep = queue("deep", lane(late, age=age, slack=None))
        return load(answer(queue("qwen", lane(4)), deep, *beside, gpu=gpu)) == ("deep", ("qwen",))

    # The bound is 900 s: 15 s to spare, a run of deep, 6 s of load, and 12.5 s for each job that may be as old.
    assert not switches(841) and switches(842)
    assert not switches(741, 9) and switches(742, 9)
    # After deep, which stays for 168 s, it is tiny's turn: 27 s of drain and load, 1 s for its job.
    assert not switches(700, 1, queue("tiny", lane(age=657, slack=None)))
    assert switches(700, 1, queue("tiny", lane(age=659, slack=None)))


def test_several_gpus_do_not_put_off_a_switch_for_an_overdue_job() -> None:
    both = queue("qwen", lane(4)), queue("deep", lane(age=570, slack=None))
    gpu = hot("qwen", running={"qwen": 1})
    assert load(answer(*both, gpu=gpu)) is None
    assert load(answer(*both, gpu=gpu, rest=(hot("tiny"),))) == ("deep", ("qwen",))


def test_in_overload_the_oldest_go_first_while_the_bound_can_be_held() -> None:
    """Backlogs of 500 and 800 s, outside the slices of the overdue."""
    shot = snapshot(queue("deep", lane(40, age=730, slack=200)), gpu=hot("deep"))
    at = replace(shot, now=NOW + 50)
    assert runs(decide(at))[0] == ("deep", "normal", "overdue")
    far = replace(at, queues=(queue("deep", lane(64, age=730, slack=200)),))
    assert runs(decide(far))[0] == ("deep", "normal", "savable")


def test_in_overload_who_is_about_to_break_the_bound_waits_for_the_short_residency_only() -> None:
    def switches(age: float, jobs: int) -> bool:
        both = queue("deep", lane(jobs)), queue("qwen", lane(age=age, slack=None))
        shot = snapshot(*both, gpu=hot("deep", running={"deep": 1}, since=300))
        return load(decide(replace(shot, now=NOW + 50))) is not None

    assert switches(840, 40) and not switches(840, 64)


def test_an_older_overdue_job_keeps_its_model_hot() -> None:
    gpu = hot("qwen", running={"qwen": 1})
    assert load(answer(queue("qwen", lane(4, age=600)), queue("deep", lane(age=570)), gpu=gpu)) is None
    assert load(answer(queue("qwen", lane(4, age=600)), queue("deep", lane(slack=20)), gpu=gpu)) is None


def test_nothing_comes_between_while_an_overdue_job_waits_for_its_switch() -> None:
    models = {**MODELS, "mini": Model("mini", 700, 1.0)}
    late, stale = queue("deep", lane(age=560, slack=None)), QueueView("m", "mini", 2.0, (lane(age=300, slack=None),))
    # Both came just now. The switch to deep needs both places, mini one.
    gpu = replace(hot("tiny", "qwen"), residents=(Resident("tiny", 800, NOW - 5), Resident("qwen", 2500, NOW - 9)))
    busy = (queue("tiny", lane()), queue("qwen", lane()))
    assert load(decide(snapshot(*busy, late, stale, gpu=gpu, models=models))) is None
    idle = snapshot(queue("tiny", lane()), late, stale, gpu=gpu, models=models)
    assert load(decide(idle)) is None, "in place of qwen, which is idle, mini would begin a residency of its own"
    assert load(decide(replace(idle, queues=(queue("tiny", lane()), stale)))) == ("mini", ("qwen",))
    roomy = snapshot(*busy, late, stale, gpu=replace(gpu, vram_mb=4000), models=models)
    assert load(decide(roomy)) == ("mini", ()), "free VRAM is for anybody"


def test_a_stale_job_forces_no_switch_before_an_overdue_one() -> None:
    models = {**MODELS, "mini": Model("mini", 700, 1.0)}
    residents = (Resident("tiny", 800, NOW - 300), Resident("qwen", 2500, NOW - 5))
    gpu = replace(EMPTY, residents=residents)
    stale = QueueView("m", "mini", 2.0, (lane(age=300, slack=None),))
    busy = (queue("tiny", lane()), queue("qwen", lane()))
    assert load(decide(snapshot(*busy, stale, gpu=gpu, models=models))) == ("mini", ("tiny",))
    deep = replace(models["deep"], size_mb=2800)  # in place of qwen, which came just now
    shot = snapshot(*busy, stale, queue("deep", lane(age=560, slack=None)), gpu=gpu, models={**models, "deep": deep})
    assert load(decide(shot)) is None


def test_a_full_gpu_decides_no_drain_yet() -> None:
    gpu = hot("qwen", running={"qwen": 2})
    (wait,) = answer(queue("qwen", lane(4)), queue("deep", lane(age=600)), gpu=gpu)
    assert isinstance(wait, Wait)


# ---- a switch under way --------------------------------------------------------------------------------------------


def test_victims_get_no_more_runs() -> None:
    gpu = hot("qwen", running={"qwen": 1}, switch=Switch("deep", ("qwen",), NOW - 3))
    (wait,) = answer(queue("qwen", lane(9, age=800)), queue("deep", lane()), gpu=gpu)
    assert isinstance(wait, Wait)
    assert "drains qwen for deep" in wait.reason


def test_models_that_stay_run_on_during_a_switch() -> None:
    gpu = hot("tiny", "qwen", running={"qwen": 1}, switch=Switch("half", ("qwen",), NOW))
    assert runs(answer(queue("qwen", lane(2)), queue("tiny", lane(2)), gpu=gpu)) == [("tiny", "normal", "savable")]


def test_the_mind_is_not_changed() -> None:
    gpu = hot("qwen", switch=Switch("deep", ("qwen",), NOW))
    assert load(answer(queue("tiny", lane(9, age=899)), gpu=gpu)) is None


def test_a_switch_that_drains_for_nobody_is_given_up() -> None:
    """Its job was cancelled, or its queue paused: what is hot goes on."""
    draining = hot("tiny", running={"tiny": 1}, switch=Switch("deep", ("tiny",), NOW - 5))
    decisions = answer(queue("tiny", lane(3)), gpu=draining)
    assert isinstance(decisions[0], GiveUp) and decisions[0].model == "deep"
    assert runs(decisions) == [("tiny", "normal", "savable")]
    assert isinstance(answer(gpu=draining)[0], GiveUp), "with nothing else to do, too"
    kinds = [type(d) for d in answer(queue("qwen", lane(1)), gpu=draining)]
    assert kinds == [GiveUp, Load], "and another may be loaded in its place"


def test_a_switch_goes_on_while_somebody_waits_or_once_its_load_has_begun() -> None:
    draining = hot("tiny", running={"tiny": 1}, switch=Switch("deep", ("tiny",), NOW - 5))
    assert isinstance(answer(queue("deep", lane(1)), queue("tiny", lane(3)), gpu=draining)[0], Wait)
    loads = hot("tiny", switch=Switch("deep", ("tiny",), NOW - 5))
    assert isinstance(answer(queue("tiny", lane(3)), gpu=loads)[0], Wait)


def test_the_answer_that_switches_grants_nothing_on_the_victims() -> None:
    decisions = answer(queue("qwen", lane(4)), queue("deep", lane(age=880)), gpu=hot("qwen", running={"qwen": 1}))
    assert load(decisions) == ("deep", ("qwen",))
    assert runs(decisions) == []


# ---- several GPUs --------------------------------------------------------------------------------------------------


def other(*models: str, name: str = "gpu1", switch: Switch | None = None) -> GpuView:
    return replace(hot(*models), name=name, switch=switch)


def test_one_job_is_left_to_the_gpu_that_holds_its_model() -> None:
    (wait,) = answer(queue("qwen", lane(1)), rest=(other("qwen"),))
    assert isinstance(wait, Wait)
    assert "Other GPUs" in wait.reason


def test_a_gpu_that_loads_the_model_counts_as_its_holder() -> None:
    assert load(answer(queue("qwen", lane(1)), rest=(other(switch=Switch("qwen", (), NOW)),))) is None
    evicting = other("qwen", switch=Switch("deep", ("qwen",), NOW))
    assert load(answer(queue("qwen", lane(1)), rest=(evicting,))) == ("qwen", ())


def test_a_gpu_that_loads_a_model_has_a_slot_for_one_job_of_it_whatever_else_it_runs() -> None:
    tiny = Resident("tiny", 800, NOW - 900, running=2)
    loads = replace(other(switch=Switch("deep", ("qwen",), NOW)), busy=2)
    for residents in ((tiny, Resident("qwen", 2500, NOW - 900)), (tiny,)):  # the victim goes, or is gone
        loads = replace(loads, residents=residents)
        (wait,) = answer(queue("deep", lane(1)), rest=(loads,))
        assert isinstance(wait, Wait), "else all GPUs load it for the same job"
        assert load(answer(queue("deep", lane(2)), rest=(loads,))) == ("deep", ())
    assert load(answer(queue("tiny", lane(1)), rest=(loads,))) == ("tiny", ()), "its slots are taken, for what stays"


def test_free_vram_is_for_what_no_holder_can_start_at_once() -> None:
    # In the 2 s of a load the holder would get through two runs of 2 s.
    full, one_free = replace(other("tiny"), busy=2), replace(other("tiny"), busy=1)
    assert load(answer(queue("tiny", lane(1)), rest=(full,))) == ("tiny", ())
    assert load(answer(queue("tiny", lane(1)), rest=(one_free,))) is None
    assert load(answer(queue("tiny", lane(2)), rest=(one_free,))) == ("tiny", ())
    assert load(answer(queue("tiny", lane(1)), gpu=hot("qwen", "tiny"), rest=(full,))) is None, "it is hot here"
    assert load(answer(queue("tiny", lane(1)), gpu=hot("deep"), rest=(full,))) is None, "deep would have to go"


def test_of_two_idle_models_the_one_that_others_hold_goes() -> None:
    models = {**MODELS, "twin": Model("twin", 800, 2.0), "mini": Model("mini", 2500, 1.0)}
    gpu = replace(EMPTY, residents=(Resident("tiny", 800, NOW - 900), Resident("twin", 800, NOW - 900)))
    for held in ("tiny", "twin"):
        holder = replace(other(), residents=(Resident(held, 800, NOW - 900),))
        mini = QueueView("m", "mini", 2.0, (lane(4),))
        assert load(decide(snapshot(mini, gpu=gpu, rest=(holder,), models=models))) == ("mini", (held,))


def test_a_long_backlog_is_replicated() -> None:
    assert load(answer(queue("qwen", lane(20)), rest=(other("qwen"),))) == ("qwen", ())


def test_an_idle_model_keeps_its_place_for_what_holders_of_another_soon_start() -> None:
    # The holder starts 2 at once; in three times the 6 s of a load it gets through 2 × 18 ÷ 25 = 1.4 runs more.
    gpu, holder = hot("qwen"), (other("deep"),)
    (wait,) = answer(queue("deep", lane(3)), gpu=gpu, rest=holder)
    assert isinstance(wait, Wait)
    assert wait.reason == "Other GPUs hold deep and soon start what waits for it."
    assert load(answer(queue("deep", lane(4)), gpu=gpu, rest=holder)) == ("deep", ("qwen",))
    assert load(answer(queue("deep", lane(3)), rest=holder)) == ("deep", ()), "free VRAM costs nobody anything"
    assert load(answer(queue("deep", lane(3, age=541)), gpu=gpu, rest=holder)) == ("deep", ("qwen",)), "overdue"


def test_an_overdue_job_has_the_place_of_idle_models_although_others_soon_start_it() -> None:
    idle, full = hot("qwen", since=1), replace(other("deep"), busy=2)
    assert load(answer(queue("deep", lane(age=100)), gpu=idle, rest=(full,))) is None
    assert load(answer(queue("deep", lane(age=600)), gpu=idle, rest=(full,))) == ("deep", ("qwen",))


def test_deadlines_of_a_model_that_others_hold_with_enough_power_force_no_switch() -> None:
    work = (queue("qwen", lane(4)), queue("deep", lane(8, slack=20)))
    gpu = hot("qwen", running={"qwen": 1}, since=2000)
    holder, without = replace(other("deep"), slots=1), replace(other("qwen", name="gpu2"), slots=2)
    assert load(answer(*work, gpu=gpu, rest=(without,))) == ("deep", ("qwen",))
    assert load(answer(*work, gpu=gpu, rest=(holder, without))) is None, "one slot of five"
    many = replace(without, slots=3)
    assert load(answer(*work, gpu=gpu, rest=(holder, many))) == ("deep", ("qwen",)), "one of six is too little"


def test_a_switch_on_one_of_several_gpus_counts_only_its_share_of_the_deadlines() -> None:
    gpu = hot("qwen", running={"qwen": 1}, since=2000)
    small, many = replace(other("deep"), slots=1), replace(other("qwen", name="gpu2"), slots=6)
    # 20 s for this GPU's quarter of qwen's jobs; 80 s for each of deep's that it would get: about half of them.
    deep = queue("deep", lane(6, slack=20))
    assert load(answer(queue("qwen", lane(40)), deep, gpu=gpu, rest=(small, many))) == ("deep", ("qwen",))
    assert load(answer(queue("qwen", lane(72)), deep, gpu=gpu, rest=(small, many))) is None, "worth it for 6, not for 3"


def test_no_deadline_takes_a_gpu_from_jobs_that_would_then_wait_longer() -> None:
    gpu = hot("qwen", running={"qwen": 1}, since=2000)
    holder = replace(other("deep"), slots=1)
    # deep's 150 s of work take its holder 150 s; qwen's 80 s take one slot 80 s.
    work = (queue("qwen", lane(10)), queue("deep", lane(6, slack=20)))
    one, eight = replace(other("qwen", name="gpu2"), slots=1), replace(other("tiny", name="gpu3"), slots=8)
    assert load(answer(*work, gpu=gpu, rest=(holder, one, eight))) == ("deep", ("qwen",))
    assert load(answer(*work, gpu=gpu, rest=(holder, eight))) is None, "nobody would serve qwen"
    slow = replace(one, speed=0.5)
    assert load(answer(*work, gpu=gpu, rest=(holder, slow, eight))) is None, "160 s"
    assert load(answer(*work, gpu=gpu, rest=(eight,))) == ("deep", ("qwen",)), "nobody holds deep"
    seen = snapshot(*work, gpu=gpu, rest=(holder, eight))
    assert load(decide(seen, Options("deadlines"))) == ("deep", ("qwen",))


def test_backlogs_held_elsewhere_count_for_less() -> None:
    queues = (queue("qwen", lane(3, age=0)), queue("deep", lane(2, age=20)))
    assert load(answer(*queues)) == ("qwen", ())
    assert load(answer(*queues, rest=(other("qwen"),))) == ("deep", ())


def test_a_large_gpu_leaves_small_models_to_small_gpus_while_large_ones_have_more_work() -> None:
    small = other("tiny")  # 3686 MiB: too small for the model below
    models = {**MODELS, "deep": Model("deep", 6000, 6.0)}
    big = replace(hot("tiny"), vram_mb=7373)
    lanes = queue("tiny", lane(10, age=50, slack=5)), queue("deep", lane(10, age=1))
    assert load(decide(snapshot(*lanes, gpu=big, rest=(small,), models=models))) == ("deep", ())
    both = replace(big, residents=(*big.residents, Resident("deep", 6000, NOW - 100)))
    first = runs(decide(snapshot(*lanes, gpu=both, rest=(small,), models=models)))
    assert {model for model, _, _ in first} == {"deep"}
    # The small work is more than the small GPU's part: the large one helps.
    much = queue("tiny", lane(500, age=50, slack=5)), queue("deep", lane(1, age=1))
    first = runs(decide(snapshot(*much, gpu=both, rest=(small,), models=models)))
    assert {model for model, _, _ in first} == {"tiny"}
    # Nobody is left behind for good.
    overdue = queue("tiny", lane(10, age=700, slack=None)), lanes[1]
    first = runs(decide(snapshot(*overdue, gpu=both, rest=(small,), models=models)))
    assert first[0] == ("tiny", "normal", "overdue")


def test_all_gpus_alike_leave_nothing_to_each_other() -> None:
    gpu = hot("tiny")
    lanes = queue("tiny", lane(10, slack=5)), queue("deep", lane(10))
    assert {m for m, _, _ in runs(decide(snapshot(*lanes, gpu=gpu, rest=(other("tiny"),))))} == {"tiny"}


def test_several_gpus_serve_by_age_sooner() -> None:
    gpu = hot("tiny", "qwen", running={"tiny": 1})
    lanes = queue("tiny", lane(1, age=10, slack=5)), queue("qwen", lane(1, age=40, slack=400))
    assert runs(decide(snapshot(*lanes, gpu=gpu))) == [("tiny", "normal", "savable")]
    assert runs(decide(snapshot(*lanes, gpu=gpu, rest=(other("deep"),)))) == [("qwen", "normal", "overdue")]


def test_of_jobs_that_came_together_several_gpus_start_the_longest() -> None:
    gpu = hot("tiny", "qwen", running={"tiny": 1})
    together = queue("tiny", lane(1, age=10.6)), queue("qwen", lane(1, age=10.2))  # in the same second
    assert runs(answer(*together, gpu=gpu)) == [("tiny", "normal", "savable")]
    assert runs(answer(*together, gpu=gpu, rest=(other("deep"),))) == [("qwen", "normal", "savable")]
    older = queue("tiny", lane(1, age=11.2)), together[1]
    assert runs(answer(*older, gpu=gpu, rest=(other("deep"),))) == [("tiny", "normal", "savable")]
    late = queue("tiny", lane(1, age=60.6)), queue("qwen", lane(1, age=60.2))
    assert runs(answer(*late, gpu=gpu, rest=(other("deep"),))) == [("qwen", "normal", "overdue")]


def test_several_gpus_serve_by_wait_and_of_shorter_runs_a_little_sooner() -> None:
    gpu, rest = hot("tiny", "qwen", running={"tiny": 1}), (other("deep"),)
    tiny = queue("tiny", lane(1, age=100, slack=None))
    for age, first in ((110, "tiny"), (111, "qwen")):  # (8 s ÷ 2 s) ** 0.07 = 1.102
        assert runs(answer(tiny, queue("qwen", lane(1, age=age, slack=None)), gpu=gpu, rest=rest))[0][0] == first
    # Overdue jobs go by age alone: the bound is the same for all.
    overdue = queue("tiny", lane(1, age=600, slack=None)), queue("qwen", lane(1, age=602, slack=None))
    assert runs(answer(*overdue, gpu=gpu, rest=rest)) == [("qwen", "normal", "overdue")]


def test_of_stale_jobs_that_came_together_the_longest_gets_the_spare_load() -> None:
    stale = queue("tiny", lane(1, age=70.6)), queue("qwen", lane(1, age=70.2))
    assert load(answer(*stale)) == ("tiny", ())
    assert load(answer(*stale, rest=(other("deep"),))) == ("qwen", ())


def test_of_many_models_whose_jobs_came_together_the_longest_is_looked_at() -> None:
    models = {f"m{i:02d}": Model(f"m{i:02d}", 500 + i, 2.0) for i in range(20)}
    queues = [QueueView(f"q-{m}", m, 2.0 + i, (lane(1, age=70.5, slack=100.0 + i),)) for i, m in enumerate(models)]
    seen = snapshot(*queues, rest=(other("deep"),) * 20, models={**MODELS, **models})
    assert load(decide(seen)) == ("m19", ())


def test_a_gpu_changes_sides_for_a_job_left_far_behind_those_on_its_hot_models() -> None:
    gpu, rest = hot("qwen", running={"qwen": 1}), (other("tiny"),)
    qwen, deep = queue("qwen", lane(4, age=100)), queue("deep", lane(6, age=136))
    assert load(answer(qwen, deep, gpu=gpu, rest=rest)) == ("deep", ("qwen",))
    barely = queue("deep", lane(6, age=135))  # 1.25 × (25 s ÷ 8 s) ** 0.07 = 1.354
    assert load(answer(qwen, barely, gpu=gpu, rest=rest)) is None, "not a quarter as long again, weighted"
    assert load(answer(queue("qwen", lane(20, age=100)), deep, gpu=gpu, rest=rest)) is None, "qwen has more work"
    holders = tuple(other("deep", name=f"gpu{i}") for i in range(2, 10))
    assert load(answer(qwen, deep, gpu=gpu, rest=holders)) is None, "they soon start it"
    short = queue("qwen", lane(4, age=20)), queue("deep", lane(6, age=59))
    assert load(answer(*short, gpu=gpu, rest=rest)) is None, "no wait to speak of"
    just_loaded = hot("qwen", running={"qwen": 1}, since=30)
    assert load(answer(qwen, deep, gpu=just_loaded, rest=rest)) is None, "not before the minimum residency"
    assert load(answer(qwen, deep, gpu=gpu)) is None, "one GPU waits for a stale job"


def test_a_second_gpu_does_not_change_sides_where_the_other_jobs_would_then_wait_longer() -> None:
    gpu, deep, qwen = hot("qwen", running={"qwen": 1}), other("deep"), other("qwen", name="gpu2")
    work = (queue("qwen", lane(8, age=100)), queue("deep", lane(8, age=151)))
    assert load(answer(*work, gpu=gpu, rest=(deep, qwen))) == ("deep", ("qwen",))
    leaves = replace(qwen, switch=Switch("deep", ("qwen",), NOW))
    assert load(answer(*work, gpu=gpu, rest=(deep, leaves))) is None, "nobody would serve qwen"
    assert load(answer(*work, gpu=gpu, rest=(deep, replace(leaves, speed=0.5)))) is None
    stale = (queue("qwen", lane(8, age=100)), queue("deep", lane(8, age=250)))
    assert load(answer(*stale, gpu=gpu, rest=(deep, leaves))) == ("deep", ("qwen",)), "out of all proportion"


def test_a_stale_job_changes_no_gpus_side_where_all_wait_as_long() -> None:
    """At the end of a burst nobody is out of proportion to the rest: only the backlog is short by then."""
    gpu, rest = hot("qwen", running={"qwen": 1}), (other("tiny"),)
    deep = queue("deep", lane(2, age=140))
    assert load(answer(queue("qwen", lane(2, age=139)), deep, gpu=gpu, rest=rest)) is None
    assert load(answer(queue("qwen", lane(2, age=100)), deep, gpu=gpu, rest=rest)) == ("deep", ("qwen",))
    alone = answer(queue("qwen", lane(2, age=139)), deep, gpu=gpu)
    assert load(alone) == ("deep", ("qwen",)), "one GPU has nobody else to serve it"
    overdue = queue("qwen", lane(2, age=550)), queue("deep", lane(2, age=560))
    assert load(answer(*overdue, gpu=gpu, rest=rest)) == ("deep", ("qwen",)), "the bound comes first"


def test_in_overload_no_gpu_changes_sides() -> None:
    gpu, rest = hot("qwen", running={"qwen": 1}), (other("tiny"),)
    much = queue("qwen", lane(4, age=500)), queue("deep", lane(80, age=800))
    full = snapshot(*much, gpu=gpu, rest=rest, max_wait_s=900.0)
    outside = replace(full, now=NOW + 50)  # overdue jobs have no share of this part of the slice
    assert load(decide(outside)) is None


def test_speed_divides_load_times() -> None:
    fast = hot("qwen", running={"qwen": 1}, since=300, speed=10.0)
    assert load(answer(queue("qwen", lane(40)), queue("deep", lane(slack=17)), gpu=fast)) is None


def test_every_reason_is_a_sentence_with_figures() -> None:
    decisions = answer(queue("qwen", lane(5)), queue("tiny", lane()), gpu=hot("qwen", since=0))
    for decision in decisions:
        assert decision.reason.endswith(".")
        assert any(c.isdigit() for c in decision.reason)
