"""What programs print is read from a buffer of our own, which goes again."""

import ctypes
import importlib
import os
import platform
import shutil
import time
from pathlib import Path

import pytest

from obi_core import hatch
from obi_core.host import Host
from obi_core.kernel.libbpf import LibbpfLoader
from obi_core.kernel.tracepipe import TracePipe, trace_pipe
from obi_core.model import LoadPlan, Mode, Program

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs"))

GETPPID = {"x86_64": 110, "aarch64": 173}[platform.machine()]
MODE = Mode("raw", (Program("printing_enter"),))


@pytest.fixture
def printing(tmp_path, monkeypatch):
    """A loaded and attached program that prints at each getppid of this process."""
    package = tmp_path / "printing_fixture"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(Path(__file__).parents[1] / "fixtures/printing/printing.bpf.c", package)
    hatch.build([package])
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    plan = LoadPlan({"printing_tgid": os.getpid(), "printing_call": GETPPID}, {}, {})
    with LibbpfLoader(Host()).load(package.name, "printing", MODE, plan) as loaded:
        loaded.attach("printing_enter")
        yield


def call(count):
    for _ in range(count):
        ctypes.CDLL(None).syscall(GETPPID)


def ours(lines, count):
    found = (line for line in lines if line == f"obi printing {GETPPID}")
    return [next(found) for _ in range(count)]


def test_every_line_comes_without_what_the_kernel_puts_before_it(printing):
    with trace_pipe(Host().tracefs()) as pipe:
        call(23)
        assert ours(pipe.lines(time.monotonic() + 20), 23) == [f"obi printing {GETPPID}"] * 23


def test_two_readers_have_every_line_each(printing):
    tracefs = Host().tracefs()
    with trace_pipe(tracefs) as pipe:
        other = tracefs / f"instances/obi-test-{os.getpid()}"
        other.mkdir()
        try:
            (other / "events/bpf_trace/bpf_trace_printk/enable").write_text("1")
            call(5)
            second = TracePipe(other / "trace_pipe")
            assert len(ours(pipe.lines(time.monotonic() + 20), 5)) == 5
            lines = second.lines(time.monotonic() + 20)
            assert len(ours(lines, 5)) == 5
            lines.close()
            (other / "events/bpf_trace/bpf_trace_printk/enable").write_text("0")
        finally:
            other.rmdir()


def test_nothing_is_left_behind(printing):
    before = set((Host().tracefs() / "instances").iterdir())
    with trace_pipe(Host().tracefs()) as pipe:
        call(1)
        lines = pipe.lines(time.monotonic() + 20)
        ours(lines, 1)
        lines.close()
        assert len(set((Host().tracefs() / "instances").iterdir()) - before) == 1
    assert set((Host().tracefs() / "instances").iterdir()) == before


def test_it_ends_when_asked_and_when_the_time_is_over():
    with trace_pipe(Host().tracefs()) as pipe:
        assert list(pipe.lines(time.monotonic() + 1000, lambda: True)) == []
        assert list(pipe.lines(time.monotonic())) == []
