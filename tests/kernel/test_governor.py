"""An expensive probe is made to cost less, step by step, and gets everything back; its neighbour never notices.

It loops to the verifier's limit in every system call of a process of its own.
"""

import importlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from obi_core import hatch
from obi_core.host import Host
from obi_core.kernel.libbpf import LibbpfLoader
from obi_core.kernel.runtime_stats import RuntimeStats
from obi_core.model import Mode, ProbeState, Program, Reason
from obi_core.runtime.changes import level_of, sentence
from obi_core.runtime.governor import Governor
from obi_core.runtime.plan import Plan
from obi_core.runtime.runner import Runner
from obi_core.settings import BudgetSettings
from obi_core.testing.fakes import FakeBus

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:sys_admin", "btf", "tracefs", "root", "cmd:clang"))

GETPPID = {"x86_64": 110, "aarch64": 173}[platform.machine()]
FIXTURE = Path(__file__).parents[1] / "fixtures/governed"
BUDGETS = BudgetSettings(
    cpu=1.0,
    user_cpu=1.0,
    kernel_cpu=0.02,
    memory=1 << 32,
    measure_s=0.3,
    measure_every_s=0.32,
    restore_s=0.7,
    sampling_steps=2,
)
CALLER = """
import ctypes, os, sys
while (number := os.read(0, 4)):
    for _ in range(int.from_bytes(number, "little")):
        ctypes.CDLL(None).syscall(GETPPID)
    os.write(1, b".")
""".replace("GETPPID", str(GETPPID))
SHED = [
    "samples 2 times less",
    "samples 4 times less",
    "opt-in attributes off: detail",
    "program greedy_more detached",
    "program greedy_less detached",
    "paused",
]


@pytest.fixture(scope="module")
def governed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("governed")
    package = folder / "governed_fixture"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in ("governed.bpf.c", "probe.py"):
        shutil.copy(FIXTURE / name, package)
    hatch.build([package])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.invalidate_caches()
        yield importlib.import_module("governed_fixture.probe")


class Windows(RuntimeStats):
    """Counts the measurements."""

    begun = 0

    def start(self):
        self.begun += 1
        return super().start()


class Node:
    """Both probes under a governor, turned as often as the test likes."""

    def __init__(self, governed) -> None:
        self.bus, self.told, self.calls = FakeBus(), [], 0
        self._child = subprocess.Popen([sys.executable, "-c", CALLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.call(0)
        loader = LibbpfLoader(Host())
        ours = {"tgid": self._child.pid, "call": GETPPID}
        self.greedy, self.modest = (
            self._runner(probe, settings(**ours), loader)
            for probe, settings in (
                (governed.GreedyProbe, governed.GreedySettings),
                (governed.ModestProbe, governed.GovernedSettings),
            )
        )
        self.runners = (self.greedy, self.modest)
        self.stats = Windows(Host())
        self.governor = Governor(
            BUDGETS,
            self.runners,
            self.stats,
            cpus=os.cpu_count(),
            series=dict,
            memory=lambda: (0, 1 << 32),
        )
        for runner in self.runners:
            runner.start()
        self.until(lambda: all(runner.status.active for runner in self.runners), calls=0)

    def _runner(self, probe, settings, loader):
        def soon(event, seconds):
            return event.wait(min(seconds, 0.01))

        plan = Plan(probe, "", settings, loader, Host(), self.bus, 0.05, 30.0, 10.0, wait=soon, budgets=BUDGETS)
        return Runner(plan, self._changed)

    def _changed(self, status):
        """What the log, the diary and the plugins are told of."""
        level = len(status.sheds)
        if level_of(status) > logging.DEBUG and level != ([0] + [told for _, told in self.told])[-1]:
            self.told.append((status, level))

    def call(self, number):
        """Have so many calls made, and wait for their end."""
        self._child.stdin.write(number.to_bytes(4, "little"))
        self._child.stdin.flush()
        assert self._child.stdout.read(1) == b"."
        self.calls += number

    def until(self, reached, *, calls=5):
        """Turn the governor, and have calls made, until something is so."""
        while not reached():
            if calls:
                self.call(calls)
            self.governor.turn()
            threading.Event().wait(0.002)

    def counted(self, probe):
        """What a probe's newest collection says, by its own generation."""
        return [(generation, batch[0].value) for name, generation, batch in self.bus.published if name == probe][-1]

    def close(self):
        self.governor.stop()
        for runner in self.runners:
            runner.finish()
        for runner in self.runners:
            runner.collected(10)
            runner.detach()
            runner.join(10)
        self._child.stdin.close()
        self._child.wait(10)
        self._child.stdout.close()


@pytest.fixture
def node(governed):
    made = Node(governed)
    yield made
    made.close()


@pytest.mark.timeout(180)
def test_an_expensive_probe_sheds_in_order_and_is_restored_while_its_neighbour_stays_exact(node):
    before = node.stats.begun
    node.until(lambda: node.greedy.status.sheds == tuple(SHED) and len(node.told) == len(SHED))
    # Two measurements until the first step, one for each further one; a probe that has just started has not been measured.
    assert node.stats.begun - before <= 2 * len(SHED) + 2
    status = node.greedy.status
    assert (status.state, status.reason, status.over) == (ProbeState.DETACHED, Reason.OVER_BUDGET, "kernel_cpu")
    assert [level for _, level in node.told] == [1, 2, 3, 4, 5, 6], "one step at a time, each one told"
    assert {told.probe for told, _ in node.told} == {"greedy"}
    assert all(told.sheds[-1] in sentence(told) and level_of(told) == logging.WARNING for told, _ in node.told)
    assert node.governor.kernel_s()["greedy"] > 10 * node.governor.kernel_s()["modest"] > 0

    node.until(lambda: node.greedy.status.active and len(node.told) == 2 * len(SHED), calls=0)
    steps = [(level, told.over) for told, level in node.told]
    assert [level for level, _ in steps] == [1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0], f"back in reverse: {steps}"
    assert set(node.greedy._worker.probe.bpf.attached) == {"greedy_main", "greedy_more", "greedy_less"}
    assert node.greedy._worker.probe.settings.detail, "what was opted in to is there again"

    assert node.modest.status.sheds == ()
    assert {generation for name, generation, _ in node.bus.published if name == "modest"} == {1}, "it was never restarted"
    node.close()
    assert node.counted("modest") == (1, node.calls)


def test_under_sampling_the_count_stays_right_within_five_sigma(node):
    node.until(lambda: len(node.greedy.status.sheds) == 2)
    generation, _ = node.counted("greedy")
    node.greedy.finish()
    assert node.greedy.collected(10)
    after, count = node.counted("greedy")
    assert after == generation == 1
    assert abs(count - node.calls) < 5 * (node.calls * 3) ** 0.5


def test_the_kernel_s_statistics_are_off_again_afterwards(node):
    node.until(lambda: node.governor.kernel_s()["modest"] > 0)
    node.governor.stop()
    programs = node.modest._worker.probe.bpf.programs

    def still():
        before = [stats.run_count for stats in programs()]
        node.call(50)
        return [stats.run_count for stats in programs()] == before

    while not still():  # another agent of this machine may have them on for a moment
        threading.Event().wait(0.1)


def test_its_loop_is_as_long_as_the_verifier_lets_one_be(governed):
    probe = governed.GreedyProbe(governed.GreedySettings())
    mode = Mode("over", (Program("greedy_main"), Program("greedy_over", loses=("nothing",))))
    try:
        probe.load(LibbpfLoader(Host()), mode)
        assert "BPF program is too large" in str(probe.bpf.refused["greedy_over"])
        assert "greedy_main" not in probe.bpf.refused
    finally:
        probe.detach()
