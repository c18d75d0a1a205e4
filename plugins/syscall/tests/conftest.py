"""A program that makes known system calls, and the probe in each of its modes."""

import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from obi_core import Account, Mode, ProbeSettings
from obi_core.testing.live import attached, this_host
from obi_core.testing.modes import in_modes_with_bpf
from obi_core.testing.seen import Seen
from obi_plugin_syscall.probe import SyscallProbe
from obi_plugin_syscall.settings import SyscallSettings
from obi_plugin_syscall.table import numbers


@dataclass
class Step:
    """A step of the workload that waits for us."""

    process: subprocess.Popen[str]

    def wait(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def wait_until_reading(self, threads: int) -> set[int]:
        """Until so many threads are asleep in a read; their ids."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        reading = f"{numbers('x86_64' if platform.machine() == 'x86_64' else 'arm64')['read']} "
        while True:
            inside = {int(task.name) for task in tasks.iterdir() if (task / "syscall").read_text().startswith(reading)}
            if len(inside) >= threads:
                return inside

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self) -> int:
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(20)


@dataclass
class Workload:
    """workload.c, compiled."""

    program: Path

    def run(self, *words: object) -> None:
        subprocess.run([self.program, *map(str, words)], check=True, timeout=25)

    def start(self, *words: object) -> Step:
        command = [str(self.program), *map(str, words)]
        return Step(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))


@pytest.fixture(scope="session")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    program = tmp_path_factory.mktemp("syscall") / "workload"
    source = Path(__file__).with_name("workload.c")
    subprocess.run(["clang", "-O2", "-Wall", "-Werror", "-pthread", "-o", program, source], check=True, timeout=60)
    return Workload(program)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    in_modes_with_bpf(metafunc, SyscallProbe)


@pytest.fixture
def start(mode: Mode) -> Iterator[Callable[..., SyscallProbe]]:
    """Load and attach the probe, with settings given by name."""
    with ExitStack() as open_:
        yield lambda **settings: open_.enter_context(attached(SyscallProbe, SyscallSettings(**settings), mode))


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Make a process name that only this test run has."""
    return lambda name: f"{name}{os.getpid() % 100000}"


@dataclass(frozen=True)
class Counted:
    """What one collection said of one process name."""

    seen: Seen
    comm: str

    @property
    def calls(self) -> dict[str, int]:
        return self.seen.counts("obi.syscall.calls", self.comm, by="process.syscall.name")

    def errors(self, name: str) -> dict[str, int]:
        return self.seen.counts("obi.syscall.errors", self.comm, by="error.type", process_syscall_name=name)

    def durations(self, name: str) -> int:
        return self.seen.durations("obi.syscall.duration", self.comm, process_syscall_name=name)


@pytest.fixture
def counted() -> Callable[[SyscallProbe, str], Counted]:
    return lambda probe, comm: Counted(Seen.of(probe), comm)


@pytest.fixture
def balance() -> Callable[[SyscallProbe], dict[str, int]]:
    """Stop the probe's programs, so that nothing is under way, and read its account."""

    def read(probe: SyscallProbe) -> dict[str, int]:
        for name in list(probe.bpf.attached):
            probe.bpf.detach(name)
        return {each.outcome: each.count for each in Seen.of(probe).yielded if isinstance(each, Account)}

    return read


def smallest(settings: type[ProbeSettings]) -> dict[str, int]:
    """Every size of a map at its lower bound."""
    fields = {name: field.metadata for name, field in settings.model_fields.items()}
    return {
        name: next(mark.ge for mark in marks if hasattr(mark, "ge"))
        for name, marks in fields.items()
        if any(type(mark).__name__ == "Entries" for mark in marks)
    }


@dataclass(frozen=True)
class Group:
    """A cgroup made for a test, where this node tells containers apart."""

    path: Path

    @property
    def id(self) -> int:
        return self.path.stat().st_ino

    def take(self, pid: int) -> None:
        self.path.joinpath("cgroup.procs").write_text(str(pid))


@pytest.fixture
def cgroups() -> Iterator[Callable[[], Group]]:
    host = this_host()
    root = Path("/sys/fs/cgroup/memory") if host.memory_cgroup_v1() else host.cgroup2()
    assert root is not None
    made: list[Group] = []

    def make() -> Group:
        made.append(Group(root / f"obi-syscall-{os.getpid()}-{len(made)}"))
        made[-1].path.mkdir()
        return made[-1]

    yield make
    for group in made:
        if group.path.exists():
            group.path.rmdir()
