"""Who is over its budget, what is done about it, and when it is taken back; with numbers made up."""

from dataclasses import replace
from typing import Annotated

import pytest

from obi_core.host import Host
from obi_core.kernel.base import ProgramStats
from obi_core.kernel.headroom import cgroup_limit, headroom
from obi_core.model import Instrument, Kind, Mode, ProbeState, Program
from obi_core.probe import Probe
from obi_core.runtime import ladder
from obi_core.runtime.costs import Budget, Cost, Reading
from obi_core.runtime.footprint import memory_limit
from obi_core.runtime.governor import Governor
from obi_core.runtime.meter import Meter
from obi_core.runtime.orders import AnewError, Measure, Orders, Restore, Shed
from obi_core.runtime.status import Status
from obi_core.runtime.verdict import Total, Track, Turn, due, excess
from obi_core.settings import BudgetSettings, Constant, Live, OptIn, ProbeSettings
from obi_core.testing.fakes import FakeClock, FakeLoader

CPUS = 4
BUDGETS = BudgetSettings(cpu=0.05, kernel_cpu=0.03, user_cpu=0.01, memory=1_000_000, map_memory=1_000_000, series=100)
IDLE = Total(0.0, 0, 1_000_000)
THINGS = Instrument("obi.x.things", Kind.COUNTER, "{thing}", "Things.")
MODE = Mode("best", (Program("x_main"), Program("x_a", loses=("a",)), Program("x_b", loses=("b",))))


class XSettings(ProbeSettings):
    every: Annotated[int, Live("x_every", shed=True)] = 8
    port: Annotated[bool, Constant("x_port"), OptIn()] = True
    name: Annotated[bool, Live("x_name"), OptIn()] = False


class XProbe(Probe):
    name = "x"
    settings_type = XSettings
    instruments = (THINGS,)
    modes = (MODE,)

    def collect(self):
        return ()


def started(settings):
    probe = XProbe(settings)
    probe.load(FakeLoader(), MODE)
    probe.attach(MODE)
    return probe


# --- who is over ---


@pytest.mark.parametrize(
    ("cost", "budget", "ratio"),
    [
        (Cost(kernel=0.24), Budget.KERNEL_CPU, 2),
        (Cost(user=0.12), Budget.USER_CPU, 3),
        (Cost(events_per_s=4000), Budget.EVENTS, 4),
        (Cost(series=500), Budget.SERIES, 5),
        (Cost(map_bytes=6_000_000), Budget.MAP_MEMORY, 6),
        (Cost(kernel=None, user=0.02), Budget.USER_CPU, 0.5),
    ],
)
def test_each_budget_has_its_measure(cost, budget, ratio):
    ((found, used),) = excess({"x": cost}, IDLE, BUDGETS, CPUS).values()
    assert (found, used) == (budget, pytest.approx(ratio))


def test_a_probe_over_its_budget_pushes_nobody_else_out():
    costs = {"big": Cost(kernel=0.9), "small": Cost(kernel=0.1, user=0.03)}
    found = excess(costs, Total(1.03, 9_000_000, 1_000_000), BUDGETS, CPUS)
    assert {name for name, (_, ratio) in found.items() if ratio > 1} == {"big"}


def test_if_the_sum_is_too_much_the_one_that_takes_most_is_held_to_account():
    costs = {"more": Cost(kernel=0.11), "less": Cost(kernel=0.10)}
    found = excess(costs, Total(0.21, 0, 1_000_000), BUDGETS, CPUS)
    assert found["more"] == (Budget.CPU, pytest.approx(1.05))
    assert found["less"][1] < 1


def test_what_the_agent_itself_takes_is_nobody_s_fault():
    found = excess({"a": Cost(kernel=0.01), "b": Cost(kernel=0.02)}, Total(0.5, 0, 1_000_000), BUDGETS, CPUS)
    assert all(ratio < 1 for _, ratio in found.values())


def test_memory_is_charged_to_whoever_has_most_maps_and_series():
    costs = {"a": Cost(map_bytes=700_000), "b": Cost(map_bytes=100_000, series=50)}
    found = excess(costs, Total(0, 1_100_000, 1_000_000), BUDGETS, CPUS)
    assert found["a"] == (Budget.MEMORY, pytest.approx(1.1))
    assert found["b"][1] < 1


# --- when ---


def judged(*ratios, steps=0, room=True, every=10, restore=20, track=None):
    """What is due after each of some measurements; steps go along."""
    track, now, turns = track or Track(restore), 0, []
    for ratio in ratios:
        turn = due(track, ratio, steps=steps, room=room, now=now, restore_s=restore)
        steps += {Turn.SHED: 1, Turn.RESTORE: -1, Turn.NOTHING: 0}[turn]
        turns.append(turn.name[0])
        now += every
    return "".join(turns)


def test_one_measurement_over_the_budget_is_none_and_each_one_after_the_second_is_a_step():
    assert judged(2, 0.1, 2, 2, 2) == "NNNSS"


def test_a_step_comes_back_after_the_time_below_half_the_budget_and_no_sooner():
    assert judged(0.5, 0.4, 0.3, 0.3, 0.3, 0.3, steps=2) == "NNRNRN"
    assert judged(0.4, 0.6, 0.4, 0.4, 0.4, steps=1) == "NNNNR", "half the budget is where the counting begins anew"
    assert judged(0.1, 0.1, 0.1, 0.1, steps=1, room=False) == "NNNN", "the agent as a whole has no room"


def test_patience_doubles_with_each_relapse_and_comes_back_after_peace():
    track = Track(20)
    assert judged(0.1, 0.1, 0.1, 2, 0.1, 0.1, 0.1, 0.1, 0.1, steps=1, track=track) == "NNRNNNNNN"
    assert track.patience_s == 20, "one measurement over the budget is no relapse"
    track = Track(20)
    assert judged(0.1, 0.1, 0.1, 2, 0.1, 0.1, 0.1, 0.1, 0.1, steps=2, track=track) == "NNRSNNNNR"
    assert track.patience_s == 40


# --- the ladder ---


def ladder_of(budget, probe, costly=(), doublings=2):
    orders = Orders(probe.settings, 10.0, doublings)
    seen = []
    for _ in range(12):
        orders.give(Shed(budget, costly))
        try:
            changed = orders.obey(probe, MODE, 1, FakeClock(), 0)
        except AnewError:
            changed = True
            if not orders.paused:
                probe = started(orders.settings)
                orders.resume(probe)
        if not changed or orders.paused:
            break
    return [step.words for step in orders.steps], seen, orders, probe


FULL = [
    "samples 2 times less",
    "samples 4 times less",
    "opt-in attributes off: port",
    "program x_b detached",
    "program x_a detached",
    "paused",
]


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        (Budget.KERNEL_CPU, FULL),
        (Budget.USER_CPU, ["collects 2 times less often", "collects 4 times less often", *FULL]),
        (Budget.CPU, ["collects 2 times less often", "collects 4 times less often", *FULL]),
        (Budget.EVENTS, [step for step in FULL if "attributes" not in step]),
        (Budget.SERIES, [FULL[2]]),
        (Budget.MEMORY, [FULL[2], "paused"]),
        (Budget.MAP_MEMORY, ["paused"]),
    ],
)
def test_the_mildest_step_that_helps_comes_first(budget, steps):
    words, _, orders, _ = ladder_of(budget, started(XSettings()), ("x_b", "x_main", "x_a"))
    assert words == steps
    assert orders.interval_s == 10.0 * (4 if budget in (Budget.USER_CPU, Budget.CPU) else 1)


def test_steps_act_on_the_probe_and_go_back_in_reverse():
    _, _, orders, probe = ladder_of(Budget.EVENTS, started(XSettings()))
    assert probe.bpf.tuned["x_every"] == 32
    assert probe.bpf.attached == ["x_main"]
    orders.give(Restore())
    with pytest.raises(AnewError):
        orders.obey(None, None, 1, FakeClock(), 0)
    probe = started(orders.settings)
    orders.resume(probe)
    assert (probe.bpf.tuned["x_every"], probe.bpf.attached) == (32, ["x_main"]), "a new start costs as little"
    states = []
    for _ in range(5):
        orders.give(Restore())
        orders.obey(probe, MODE, 2, FakeClock(), 0)
        states.append((probe.bpf.tuned["x_every"], len(probe.bpf.attached), len(orders.steps)))
    assert states == [(32, 2, 3), (32, 3, 2), (16, 3, 1), (8, 3, 0), (8, 3, 0)]


def test_an_opt_in_that_is_live_needs_no_restart():
    probe = started(XSettings(port=False, name=True))
    orders = Orders(probe.settings, 10.0, 0)
    orders.give(Shed(Budget.SERIES))
    assert orders.obey(probe, MODE, 1, FakeClock(), 0)
    assert not probe.settings.name
    orders.give(Restore())
    assert orders.obey(probe, MODE, 1, FakeClock(), 0)
    assert probe.settings.name
    assert orders.steps == ()


def test_a_probe_that_can_do_nothing_is_paused_at_once():
    class Plain(XProbe):
        settings_type = ProbeSettings
        modes = (Mode("proc"),)

    orders = Orders(ProbeSettings(), 10.0, 4)
    orders.give(Shed(Budget.KERNEL_CPU))
    with pytest.raises(AnewError):
        orders.obey(Plain(ProbeSettings()), Plain.modes[0], 1, FakeClock(), 0)
    assert [step.kind for step in orders.steps] == [ladder.Kind.PAUSE]


# --- measuring ---


class FakeStats:
    problem, always_on, on = "", False, False
    allowed = True

    def start(self):
        self.on = self.allowed
        self.problem = "" if self.allowed else "no CAP_SYS_ADMIN"
        return self.allowed

    def stop(self):
        self.on = False


class FakeRunner:
    """A probe that costs what the test says, in CPUs, while the statistics are on."""

    def __init__(self, name, clock, stats) -> None:
        self.name, self.clock, self.stats = name, clock, stats
        self.status = Status(name, ProbeState.ATTACHED)
        self.reading, self.orders, self.levels = None, [], []
        self.kernel = self.user = self.events = 0.0
        self._run_ns = self._cpu_s = self._events = self.runs = 0
        self._at = clock()
        self.answers = True

    def pass_time(self):
        spent, self._at = self.clock() - self._at, self.clock()
        self._cpu_s += self.user * spent
        self._events += self.events * spent
        if self.stats.on or self.stats.always_on:
            self._run_ns += int(self.kernel * spent * 1e9)
            self.runs += round(1000 * spent)

    def order(self, order):
        self.pass_time()
        if isinstance(order, Measure):
            if self.answers:
                stats = (ProgramStats("x_main", self._run_ns, self.runs, 0),)
                self.reading = Reading(self.clock(), 1, self._cpu_s, self._events, 4096, stats)
        else:
            self.orders.append(order)
            n = len(self.status.sheds) + (1 if isinstance(order, Shed) else -1)
            self.levels.append(n)
            self.status = replace(
                self.status, sheds=tuple(map(str, range(n))), over=getattr(order, "budget", Budget.CPU).value
            )


class Node:
    def __init__(self, budgets=BUDGETS, names=("x", "y")) -> None:
        self.clock, self.stats = FakeClock(), FakeStats()
        self.runners = [FakeRunner(name, self.clock, self.stats) for name in names]
        self.governor = Governor(
            budgets,
            self.runners,
            self.stats,
            cpus=CPUS,
            series=lambda: {"x": 7},
            memory=lambda: (500, 1_000_000),
            clock=self.clock,
            process_s=lambda: 0.02 * self.clock(),
        )

    def run(self, seconds):
        for _ in range(seconds):
            self.clock.advance(1.0)
            for runner in self.runners:
                runner.pass_time()
            self.governor.turn()


def test_a_measurement_gives_cpus_rates_and_what_the_whole_agent_uses():
    node = Node()
    node.runners[0].kernel, node.runners[0].user, node.runners[0].events = 0.05, 0.01, 3
    node.run(140)
    document = node.governor.document()
    assert document["probes"]["x"]["kernel_cpus"] == pytest.approx(0.05)
    assert document["probes"]["x"]["user_cpus"] == pytest.approx(0.01)
    assert document["probes"]["x"]["events_per_s"] == pytest.approx(3)
    assert document["probes"]["x"]["series"] == 7
    assert document["probes"]["x"]["programs"]["x_main"]["runs_per_s"] == pytest.approx(1000)
    assert document["cpus"] == pytest.approx(0.07), "0.05 in the kernel, 0.02 of the process"
    assert document["memory_bytes"] == 500 + 2 * 4096
    assert document["kernel_cost"] == "measured"


def test_the_statistics_are_on_for_two_seconds_a_minute_and_what_they_cost_is_counted():
    node, on = Node(), 0
    node.runners[0].kernel = 0.05
    for _ in range(600):
        node.run(1)
        on += node.stats.on
    assert on == 2 * 10
    measured = node.governor.kernel_s()["x"]
    assert measured == pytest.approx(0.05 * 600, rel=0.12)
    assert node.governor.kernel_s()["y"] == pytest.approx(node.runners[1].runs * 20e-9), "nothing but what measuring costs"


def test_statistics_that_somebody_else_has_on_are_not_taken_for_ours():
    node = Node()
    node.stats.always_on = True
    node.runners[0].kernel = 0.05
    node.run(130)
    assert node.governor.document()["probes"]["x"]["kernel_cpus"] == pytest.approx(0.05)


def test_without_the_right_to_measure_the_rest_is_still_bounded_and_it_is_said_once(caplog):
    node = Node()
    node.stats.allowed = False
    node.runners[0].kernel, node.runners[1].user = 5.0, 0.9
    node.run(200)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "what probes cost in the kernel is not known, and not bounded: no CAP_SYS_ADMIN"
    ]
    assert node.runners[0].orders == []
    assert isinstance(node.runners[1].orders[0], Shed)
    assert node.governor.document()["probes"]["x"]["kernel_cpus"] is None


def test_a_worker_that_does_not_answer_holds_nobody_up():
    node = Node()
    node.runners[1].answers = False
    node.runners[0].kernel = 0.9
    node.run(200)
    assert isinstance(node.runners[0].orders[0], Shed)
    assert set(node.governor.document()["probes"]) == {"x"}


def test_a_probe_is_shed_and_restored_one_step_at_a_time():
    node = Node()
    node.runners[0].kernel = 0.9
    node.run(120)
    shed = [order for order in node.runners[0].orders if isinstance(order, Shed)]
    assert shed
    assert {order.budget for order in shed} == {Budget.KERNEL_CPU}
    assert shed[0].costly == ("x_main",)
    node.runners[0].kernel = 0.01
    node.run(3000)
    assert node.runners[0].status.sheds == ()
    assert node.runners[1].orders == []
    levels = node.runners[0].levels
    top = max(levels)
    assert levels == [*range(1, top + 1), *range(top - 1, -1, -1)]


def test_a_probe_that_is_starting_again_is_asked_for_nothing_more_until_it_runs():
    node = Node()
    node.runners[0].kernel = 0.9
    node.run(120)
    node.runners[0].kernel = 0.01
    before = len(node.runners[0].orders)
    node.runners[0].status = replace(node.runners[0].status, state=ProbeState.LOADED)
    node.run(1000)
    assert len(node.runners[0].orders) == before
    node.runners[0].status = replace(node.runners[0].status, state=ProbeState.ATTACHED)
    node.run(1000)
    assert isinstance(node.runners[0].orders[-1], Restore)


def test_if_budgets_are_not_enforced_it_is_only_told():
    node = Node(BUDGETS.model_copy(update={"enforce": False}))
    node.runners[0].kernel = 0.9
    node.run(200)
    assert node.runners[0].orders == []
    metrics = {metric.instrument.name: metric for metric in node.governor.metrics()}
    over = [dict(point.attributes) for point in metrics["obi_probe_over_budget"].points if point.value]
    assert over == [{"budget": "kernel_cpu", "probe": "x"}]
    assert node.governor.over() == ("cpu",)


def test_every_metric_is_there_from_the_first_scrape():
    metrics = {metric.instrument.name: metric for metric in Node().governor.metrics()}
    assert [point.value for point in metrics["obi_probe_shed_level"].points] == [0, 0]
    assert len(metrics["obi_probe_over_budget"].points) == 2 * len(Budget)
    assert all(metric.points for metric in metrics.values())


def test_a_measurement_is_over_for_a_meter_that_is_stopped():
    node = Node()
    meter = Meter(node.stats, 2.0, node.clock)
    meter.begin(node.runners)
    meter.turn(node.runners)
    assert node.stats.on
    meter.stop()
    assert (node.stats.on, meter.busy) == (False, False)


# --- memory that the node allows ---


def cgroup_host(tmp_path, version, files):
    """A node whose only hierarchy has the memory controller."""
    root = tmp_path / "cgroup"
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    kind, options = ("cgroup", "rw,memory") if version == 1 else ("cgroup2", "rw")
    (proc / "self/mounts").write_text(f"none {root} {kind} {options} 0 0\n")
    (proc / "cgroups").write_text(f"#name\nmemory\t{1 if version == 1 else 0}\t1\t1\n")
    (proc / "self/cgroup").write_text("4:memory:/pods/obi\n" if version == 1 else "0::/pods/obi\n")
    if version == 2:
        (root / "cgroup.controllers").write_text("cpu memory\n")
    return Host(proc=proc)


@pytest.mark.parametrize(
    ("version", "files", "limit"),
    [
        (2, {"pods/obi/memory.max": "100000000\n", "pods/memory.max": "max\n"}, 100_000_000),
        (2, {"pods/obi/memory.max": "max\n", "pods/memory.max": "70000000\n"}, 70_000_000),
        (2, {"pods/obi/memory.max": "max\n"}, None),
        (1, {"pods/obi/memory.limit_in_bytes": "100000000\n", "memory.limit_in_bytes": "9223372036854771712\n"}, 100_000_000),
        (1, {"pods/obi/memory.limit_in_bytes": "9223372036854771712\n"}, None),
    ],
)
def test_the_least_limit_of_our_cgroup_and_those_above_counts(tmp_path, version, files, limit):
    host = cgroup_host(tmp_path, version, files)
    assert cgroup_limit(host) == limit
    assert memory_limit(host, 200_000_000) == (200_000_000 if limit is None else int(0.9 * limit))
    assert memory_limit(host, 1_000) == 1_000


@pytest.mark.parametrize(
    ("version", "files", "left"),
    [
        (
            2,
            {
                "pods/obi/memory.max": "100000000\n",
                "pods/obi/memory.current": "70000000\n",
                "pods/obi/memory.stat": "anon 40000000\nactive_file 5000000\ninactive_file 25000000\n",
                "pods/memory.max": "90000000\n",
                "pods/memory.current": "50000000\n",
            },
            40_000_000,
        ),
        (
            1,
            {
                "pods/obi/memory.limit_in_bytes": "100000000\n",
                "pods/obi/memory.usage_in_bytes": "70000000\n",
                "pods/obi/memory.stat": "active_file 1\ntotal_active_file 5000000\ntotal_inactive_file 25000000\n",
            },
            60_000_000,
        ),
        (2, {"pods/obi/memory.max": "max\n"}, None),
    ],
)
def test_what_is_left_until_the_nearest_limit_counts_files_as_left(tmp_path, version, files, left):
    assert headroom(cgroup_host(tmp_path, version, files)) == left
