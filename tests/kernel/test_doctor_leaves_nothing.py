"""The doctor tries everything and leaves nothing: neither program, map, link, mount nor filter."""

import subprocess
import sys
from pathlib import Path

import pytest

from obi_core.kernel.census import installed
from obi_core.testing.held import Held, left_behind
from obi_core.testing.live import attached

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:sys_admin", "btf"))

ROOT = Path(__file__).parents[2]


def test_after_a_doctor_run_nothing_is_left_in_the_kernel():
    mounts, before = Path("/proc/self/mounts").read_text(), {each.id for each in installed()}
    done = subprocess.run([sys.executable, "-m", "obi_core", "doctor"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    assert {each.id for each in installed()} - before == set()
    assert Path("/proc/self/mounts").read_text() == mounts


def test_programs_in_the_kernel_are_listed_with_their_hooks():
    from obi_plugin_tcp.probe import TcpProbe

    before = {each.id for each in installed()}
    held = Held.now()
    with attached(TcpProbe, TcpProbe.settings_type(), TcpProbe.modes[0]):
        ours = {each.name: each.kind for each in installed() if each.id not in before}
        assert ours["tcp_state_btf"] == "tracing"
        assert ours["tcp_rtt_ops"] == "sockops"
        assert ours["tcp_accept"] == "tracepoint"
    assert left_behind(Held.now().objects - held.objects) == frozenset()


def test_another_agents_programs_are_told_by_the_doctor(verbs, loader):
    with loader.load(verbs.package, "verbs", verbs.mode, verbs.plan()) as loaded:
        for program in verbs.mode.programs:
            loaded.attach(program.name)
        hooks = {each.name: (each.kind, each.hook) for each in installed()}
        assert hooks["verbs_exit"] == ("raw_tracepoint", "sys_exit")
        done = subprocess.run(
            [sys.executable, "-m", "obi_core", "doctor"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert "programs of somebody else are loaded at hooks that OBI uses too: " in done.stdout
    assert "verbs_exit" in done.stdout
