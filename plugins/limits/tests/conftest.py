"""A cgroup of one's own, v1 or v2, whichever a controller is on; a workload that runs into limits there; the probe."""

import itertools
import os
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from obi_core import Cgroups
from obi_core.testing.live import attached
from obi_core.testing.modes import in_modes_with_bpf
from obi_core.testing.netns import Step
from obi_plugin_limits.probe import LimitsProbe
from obi_plugin_limits.settings import LimitsSettings

WORKLOAD = Path(__file__).with_name("limits_workload.py")
CONTROLLERS = ("memory", "pids", "cpu", "cpuacct")
_FILES = {
    ("memory", 1): "memory.limit_in_bytes",
    ("memory", 2): "memory.max",
    ("pids", 1): "pids.max",
    ("pids", 2): "pids.max",
}
_numbers = itertools.count(1)


@dataclass
class OwnGroup:
    """A cgroup at one path in every hierarchy."""

    path: str
    directories: dict[str, Path] = field(default_factory=dict)
    """By controller."""
    versions: dict[str, int] = field(default_factory=dict)

    @property
    def id(self):
        """As owners carry it."""
        return (Cgroups().identifying() / self.path[1:]).stat().st_ino

    def limit(self, controller, value):
        (self.directories[controller] / _FILES[controller, self.versions[controller]]).write_text(f"{value}\n")

    def quota(self, quota_us, period_us):
        directory = self.directories["cpu"]
        if self.versions["cpu"] == 2:
            (directory / "cpu.max").write_text(f"{quota_us} {period_us}\n")
        else:
            (directory / "cpu.cfs_period_us").write_text(f"{period_us}\n")
            (directory / "cpu.cfs_quota_us").write_text(f"{quota_us}\n")

    def enter(self, pid):
        for directory in set(self.directories.values()):
            (directory / "cgroup.procs").write_text(f"{pid}\n")

    def keyed(self, controller, name):
        """A file of words and numbers, as it is now."""
        lines = (self.directories[controller] / name).read_text().splitlines()
        return {word: int(number) for word, number in (line.split() for line in lines)}

    def leave(self):
        """Remove it before the test is over."""
        for directory in set(self.directories.values()):
            remove(directory)

    def oom_kills(self):
        """As the kernel counts them for this group."""
        name = "memory.events" if self.versions["memory"] == 2 else "memory.oom_control"
        return self.keyed("memory", name)["oom_kill"]


@contextmanager
def own_group(name="", controllers=CONTROLLERS):
    """Make a cgroup below the root of each controller's hierarchy; it goes with the context, once it is empty."""
    cgroups = Cgroups()
    made = OwnGroup(name or f"/obi-limits-{os.getpid()}-{next(_numbers)}")
    try:
        for controller in controllers:
            root = cgroups.root(controller)
            assert root is not None, f"this kernel has no controller {controller}"
            made.versions[controller] = cgroups.version(controller)
            if made.versions[controller] == 2 and controller != "cpuacct":
                (root / "cgroup.subtree_control").write_text(f"+{controller}")
            made.directories[controller] = root / made.path[1:]
            made.directories[controller].mkdir(exist_ok=True)
        yield made
    finally:
        for directory in set(made.directories.values()):
            remove(directory)


def remove(directory):
    """Remove a cgroup as soon as its last process is gone for good."""
    for _ in range(200):
        try:
            directory.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            threading.Event().wait(0.02)
        else:
            return
    raise AssertionError(f"{directory} is still used by {(directory / 'cgroup.procs').read_text().split()}")


@pytest.fixture
def group():
    with own_group() as made:
        yield made


@pytest.fixture
def make_group():
    """Make a cgroup, at a path of one's own if one is given."""
    with ExitStack() as open_:
        yield lambda name="", controllers=CONTROLLERS: open_.enter_context(own_group(name, controllers))


@pytest.fixture
def workload():
    """Start a step of the workload, in a cgroup if one is given; it waits there to be told to go on."""
    with ExitStack() as open_:

        def start(*step, group=None, command=()):
            process = subprocess.Popen(
                [*command, sys.executable, str(WORKLOAD), *map(str, step)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            open_.enter_context(process)
            open_.callback(process.kill)
            made = Step(process)
            assert made.line() == "ready"
            if group is not None:
                group.enter(process.pid)
            return made

        yield start


def pytest_generate_tests(metafunc):
    in_modes_with_bpf(metafunc, LimitsProbe)


@pytest.fixture
def start(mode):
    """Load and attach the probe, with settings given by name. No system call is watched unless asked for: each costs time
    at the end."""
    with ExitStack() as open_:

        def go(**settings):
            return open_.enter_context(attached(LimitsProbe, LimitsSettings(**{"exhaustion_calls": (), **settings}), mode))

        yield go


@pytest.fixture
def unique():
    """Make a process name that only this test run has."""
    return lambda name: f"{name}{os.getpid() % 100000}"
