"""What every installed probe promises of its text for BCC: it compiles for old kernels, and counts what CO-RE counts."""

import json
import os
import re
import subprocess
import sys
import threading
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from obi_core.kernel.bcc import _PROLOGUE, RING_STUB
from obi_core.kernel.shipped import Shipped
from obi_core.runtime.registry import BUILT_IN
from obi_core.testing.live import attached

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "bcc", "tracefs", "root", "cmd:clang"))

ROOT = Path(__file__).parents[2]
MOST_INSTRUCTIONS = 4_096
"""Before 5.2 a program has no more."""
PLUGINS = sorted({each.name for each in entry_points(group="obi.plugins")} & set(BUILT_IN))
HIDE = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /sys/kernel/btf && exec "$@"', "sh")
COMPILE = """
import json, struct, sys
from bcc import BPF, lib

def loops(code):
    state, work = {}, [(0, iter([0]))]
    while work:
        at, following = work[-1]
        for to in following:
            if state.get(to) == "open":
                return True
            if to not in state:
                state[to] = "open"
                work.append((to, iter(targets(code, to))))
                break
        else:
            state[at] = "done"
            work.pop()
    return False

def targets(code, at):
    operation, _, offset, _ = code[at]
    if operation == 0x95:  # exit
        return []
    if operation == 0x18:  # two slots
        return [at + 2]
    if operation & 7 in (5, 6) and operation != 0x85:
        return [at + 1 + offset] if operation == 0x05 else [at + 1, at + 1 + offset]
    return [at + 1]

module = BPF(text=sys.stdin.read(), cflags=["-w"])
found = {}
for number in range(lib.bpf_num_functions(module.module)):
    name = lib.bpf_function_name(module.module, number).decode()
    code = list(struct.iter_unpack("<BBhi", module.dump_func(name)))
    found[name] = [len(code), loops(code), any(each[0] == 0x18 and each[1] >> 4 == 2 for each in code)]
print(json.dumps(found))
"""
"""Prints by program: instructions; whether it loops (since 5.3); whether it has addresses of global data (since 5.2)."""
STATIC = re.compile(r"\bstatic (?!inline\b|__always_inline\b|const [us]\d+ \w+ = OBI_CHOOSE).*")
"""A variable of the file's, but for scalars that the compiler folds."""


def source_of(name):
    (entry,) = {each.value: each for each in entry_points(group="obi.plugins", name=name)}.values()
    return files(entry.value.partition(":")[0]).joinpath(f"{name}.bcc.c").read_text()


@pytest.mark.parametrize("name", PLUGINS)
def test_the_text_for_bcc_compiles_without_global_data_ring_buffer_and_loops_in_few_instructions(name, headers, monkeypatch):
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(headers))
    text = RING_STUB + _PROLOGUE.format(name=name) + source_of(name)
    done = subprocess.run([sys.executable, "-c", COMPILE], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found, "a mode that is compiled on the node has programs"
    assert {name: each for name, each in found.items() if each[0] > MOST_INSTRUCTIONS or any(each[1:])} == {}
    assert STATIC.findall(source_of(name)) == []


def with_bcc():
    for name in PLUGINS:
        (entry,) = {each.value: each for each in entry_points(group="obi.plugins", name=name)}.values()
        (probe,) = entry.load().obi_register_probes()
        if any("bcc" in mode.needs for mode in probe.modes):
            yield name


@pytest.mark.parametrize("name", [*with_bcc()])
def test_every_map_of_a_mode_that_is_compiled_is_in_the_memory_plan(name):
    (entry,) = {each.value: each for each in entry_points(group="obi.plugins", name=name)}.values()
    (probe,) = entry.load().obi_register_probes()
    mode = next(mode for mode in probe.modes if "bcc" in mode.needs)
    planned = Shipped.read(entry.value.partition(":")[0], name).maps_of(program.name for program in mode.programs)
    with attached(probe, probe.settings_type(), mode) as running:
        made = {each.name for each in running.bpf.maps()}
    assert made - planned == set()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", [*with_bcc()])
def test_with_btf_hidden_the_mode_of_bcc_keeps_the_contract(name):
    """Its losses are what it says, what it does not lose moves, its account balances, and nothing is left."""
    tests = ROOT / "plugins" / name / "tests"
    command = [
        *HIDE,
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "on_this_kernel and bcc",
        str(tests),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.timeout(90)
def test_an_agent_without_btf_runs_its_probes_in_their_next_modes_within_200_mb_compiler_included():
    ports = {"OBI_HTTP__LISTEN": "127.0.0.1:38080", "OBI_METRICS__LISTEN": "127.0.0.1:39090", "OBI_AGENT__VIEW": "off"}
    command = [*HIDE, sys.executable, "-m", "obi_core", "run", "--interval", "1s"]
    clean = {name: text for name, text in os.environ.items() if not name.startswith("OBI_")}
    with subprocess.Popen(command, cwd=ROOT, env={**clean, **ports}, stderr=subprocess.DEVNULL) as agent:
        try:
            peak = 0
            while set((modes := running(38080)).values()) & {None, ""} or len(modes) < len(PLUGINS):
                assert agent.poll() is None
                peak = max(peak, sum(map(proportional_bytes, family(agent.pid))))
                threading.Event().wait(0.02)
            text = urlopen("http://127.0.0.1:39090/metrics", timeout=5).read().decode()
            steady = proportional_bytes(agent.pid)
        finally:
            agent.terminate()
    assert {name: modes[name] for name in with_bcc()} == dict.fromkeys(with_bcc(), "bcc")
    maps = sum(float(value) for value in re.findall(r"(?m)^obi_probe_map_bytes\{[^}]*\} (\S+)$", text))
    assert maps > 0
    assert steady + maps < 100e6
    assert steady < peak < 200e6, "while the compiler runs beside it; most of that is files that the kernel can drop"


def family(pid):
    """A process and its descendants, as far as they are still there."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        return
    yield pid
    for child in children:
        yield from family(child)


def proportional_bytes(pid):
    """Its share of memory: private, and a part of what it shares."""
    try:
        return int(re.search(r"Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())[1]) << 10
    except (OSError, TypeError):
        return 0


def running(port):
    """The mode of every probe, as /ready says; None before it has one."""
    try:
        answer = urlopen(f"http://127.0.0.1:{port}/ready", timeout=5)
    except HTTPError as error:
        answer = error
    except OSError:
        return {}
    return {name: probe["mode"] for name, probe in json.load(answer)["probes"].items()}


ALIKE = {
    "tcp": ("tp_btf", {"connects": {"client": 23, "server": 23}, "lifetimes": 46}),
    "network": (
        "cgroup_skb",
        {"packets": {"transmit": 23, "receive": 23}, "bytes": {"transmit": 23 * 38, "receive": 23 * 38}},
    ),
    "syscall": ("tp_btf", {"getppid": {"": 997}, "rmdir": {"": 37}, "durations": 997}),
    "limits": ("tp_btf", {"exhaustion": {"file_descriptors": 13}}),
}
"""By probe: its best mode, and what both count of the workload in alike.py."""


@pytest.mark.parametrize("hidden", [False, True], ids=["co-re", "bcc-without-btf"])
@pytest.mark.parametrize("name", ALIKE)
def test_one_workload_counts_alike_through_both_loaders(name, hidden):
    best, counts = ALIKE[name]
    command = [*(HIDE if hidden else ()), sys.executable, str(Path(__file__).with_name("alike.py"))]
    command += [name, "bcc" if hidden else best, f"alike{name[:3]}{os.getpid() % 100000}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"btf": not hidden, "counts": counts}


def test_every_built_in_probe_has_a_mode_that_is_compiled_here_and_a_workload():
    assert set(ALIKE) == set(with_bcc()) == set(PLUGINS)
