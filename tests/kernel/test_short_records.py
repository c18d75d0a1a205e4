"""Records whose size is not that of their type: counted as lost at decoding, and the rest arrives."""

import importlib
import os
import platform
import shutil
from pathlib import Path

import pytest

from obi_core import Instrument, Kind, Mode, Probe, ProbeSettings, Program, hatch
from obi_core.host import Host
from obi_core.kernel.libbpf import LibbpfLoader
from obi_core.model import LoadPlan, Loss
from obi_core.runtime.declared import Declared

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "cmd:clang"))

SOURCE = Path(__file__).parents[1] / "fixtures" / "short" / "short.bpf.c"
GETPPID = {"x86_64": 110, "aarch64": 173}[platform.machine()]
MODE = Mode("short", (Program("short_enter"), Program("short_walk")))
PLAN = LoadPlan({"short_tgid": os.getpid(), "short_call": GETPPID}, {}, {})


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    made = folder / "short_fixture"
    made.mkdir()
    shutil.copy(SOURCE, made)
    hatch.build([made])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.invalidate_caches()
        yield made.name


@pytest.fixture
def bpf(package):
    with LibbpfLoader(Host()).load(package, "short", MODE, PLAN) as loaded:
        loaded.attach("short_enter")
        yield loaded


def call(times):
    for _ in range(times):
        os.getppid()


def test_whole_records_arrive_and_the_others_are_counted(bpf):
    call(23)
    assert [(each.number, each.square) for each in bpf.drain("short_ring")] == [(n, n * n) for n in range(3, 24, 3)]
    assert dict(bpf.decode_lost) == {"short_ring": 16}
    call(1)
    assert len(list(bpf.drain("short_ring"))) == 1
    assert dict(bpf.decode_lost) == {"short_ring": 16}


def test_an_iterator_that_ends_in_half_a_record_loses_that_one(bpf):
    call(1)
    assert [(each.number, each.square) for each in bpf.iterate("short_walk", walk="short_rows")] == [(1, 1)]
    assert dict(bpf.decode_lost) == {"short_walk": 1}


def test_a_collection_reports_them_as_lost_at_decoding(package):
    class Short(Probe):
        name = "short"
        instruments = (Instrument("obi.short.x", Kind.COUNTER, "{x}", "X."),)
        modes = (MODE,)

        def load(self, loader, mode):
            self._bpf = self._open.enter_context(loader.load(package, "short", mode, PLAN))

        def collect(self):
            list(self.bpf.drain("short_ring"))
            return ()

    probe = Short(ProbeSettings())
    try:
        probe.load(LibbpfLoader(Host()), MODE)
        probe.attach(MODE)
        assert Declared(Short).collection(probe) == []
        call(6)
        assert Declared(Short).collection(probe) == [Loss("short_ring_size", 4, "decode")]
    finally:
        probe.detach()
