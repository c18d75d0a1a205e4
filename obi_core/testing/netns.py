"""Workloads in a network namespace of their own, so that a probe's counts can be exact on a busy machine.

A workload is a script, run as `python3 SCRIPT STEP [ARG…]`. It prints a word per line when it has reached something, reads a
line when it waits to be told to go on, and prints `done` last. Its step `prepare` sets the namespace up, prints `ready` and
waits.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 25.0


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a workload that runs."""

    process: "subprocess.Popen[str]"

    @property
    def pid(self) -> int:
        """Process id, in this pid namespace."""
        return self.process.pid

    def line(self) -> str:
        """Wait for its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        """Let it take its next step."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self) -> None:
        """Wait until it has done everything.

        Raises:
            AssertionError: It failed, or stopped before `done`.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        # Not communicate(): it would miss a line that came together with the last one that was read.
        lines = self.process.stdout.read().split()
        self.process.wait(_TIMEOUT_S)
        if self.process.returncode or lines[-1:] != ["done"]:
            raise AssertionError(f"{self.process.args!r} ended with status {self.process.returncode} after {lines}")


@dataclass(frozen=True, slots=True)
class PrivateNetwork:
    """A network namespace that lives as long as the test."""

    script: Path
    pid: int
    """A process that holds it."""
    _open: ExitStack

    def start(self, *step: object) -> Step:
        """Start a step of the workload here."""
        command = ["nsenter", f"--net=/proc/{self.pid}/ns/net", sys.executable, str(self.script), *map(str, step)]
        return Step(_spawn(command, self._open))

    def run(self, *step: object) -> None:
        """Run a step of the workload to its end."""
        self.start(*step).finish()


@contextmanager
def private_network(script: Path) -> Iterator[PrivateNetwork]:
    """Make a network namespace and run the workload's step `prepare` in it; every process ends with the context."""
    with ExitStack() as open_:
        holder = _spawn(["unshare", "--net", sys.executable, str(script), "prepare"], open_)
        step = Step(holder)
        if step.line() != "ready":
            raise AssertionError(f"{script} did not prepare its network namespace")
        yield PrivateNetwork(script, holder.pid, open_)


def _spawn(command: list[str], open_: ExitStack) -> "subprocess.Popen[str]":
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    open_.enter_context(process)
    open_.callback(process.kill)
    return process
