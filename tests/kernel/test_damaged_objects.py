"""Damaged object files through the whole loader: one sentence each, nothing left open, and never a crash of the process."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from obi_core.elf import ElfObject
from obi_core.testing.site import Site

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs", "cmd:clang", "cmd:llvm-objcopy"))

ROOT = Path(__file__).parents[2]
LOAD_ALL = """
import json, os, sys
from pathlib import Path
from obi_core.errors import ObiError
from obi_core.host import Host
from obi_core.kernel.budget import BudgetedLoader
from obi_core.kernel.libbpf import LibbpfLoader
from obi_core.model import LoadPlan, Mode, Program
from obi_core.settings import BudgetSettings

mode = Mode("both", (Program("verbs_enter"), Program("verbs_exit")))
sys.path.insert(0, sys.argv[1])

def load(package):
    loader = BudgetedLoader(LibbpfLoader(Host()), BudgetSettings(), 2, {})
    try:
        loader.load(package, "verbs", mode, LoadPlan({}, {}, {})).close()
    except ObiError as error:
        return type(error).__name__, str(error)
    return "", ""

load("whole")
for package in sorted(os.listdir(sys.argv[1])):
    before = len(os.listdir("/proc/self/fd"))
    kind, text = load(package)
    left = len(os.listdir("/proc/self/fd")) - before
    print(json.dumps({"case": package, "kind": kind, "text": text, "left": left}), flush=True)
"""
"""In a process of its own: a library that crashes on what it reads would take the tests along."""


@pytest.fixture(scope="module")
def whole(verbs):
    return (verbs.folder / verbs.package / "verbs.bpf.o").read_bytes()


@pytest.fixture
def load(tmp_path, whole):
    def go(cases):
        for name, data in {"whole": whole, **cases}.items():
            (tmp_path / name).mkdir()
            if data is not None:
                (tmp_path / name / "verbs.bpf.o").write_bytes(data)
        command = [sys.executable, "-c", LOAD_ALL, tmp_path]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        found = {line["case"]: line for line in map(json.loads, done.stdout.splitlines())}
        missing = sorted({"whole", *cases} - found.keys())
        assert (done.returncode, missing[:1]) == (0, []), done.stderr
        assert found.pop("whole")["kind"] == ""
        for case, outcome in found.items():
            assert outcome["left"] == 0, case
            assert "\n" not in outcome["text"], case
            assert outcome["kind"] in {"", "LoadError"}, outcome
        return {case: outcome["text"] for case, outcome in found.items()}

    return go


def test_an_object_that_is_cut_short_anywhere_is_refused_by_name(load, whole):
    lengths = sorted({0, 1, 63, 64, len(whole) - 1, *range(0, len(whole), len(whole) // 60)})
    said = load({f"cut{length:06}": whole[:length] for length in lengths})
    assert set(said.values()) == {f"{case}/verbs.bpf.o: not a BPF object file, or damaged; build it again" for case in said}


@pytest.mark.parametrize("section", [None, ".BTF", ".BTF.ext", ".symtab", ".strtab"])
def test_a_damaged_object_loads_or_is_refused_and_crashes_nothing(load, whole, section):
    at = 0 if section is None else whole.index(ElfObject(whole).section(section))
    size = len(whole) if section is None else len(ElfObject(whole).section(section))
    cases = {}
    for seed in range(60):
        chance, data = random.Random(seed), bytearray(whole)
        for _ in range(chance.choice((1, 1, 4, 16))):
            data[at + chance.randrange(size)] = chance.randrange(256)
        cases[f"seed{seed:03}"] = bytes(data)
    said = load(cases)
    for case, text in said.items():
        # What the verifier refuses names its program, anything else its file.
        assert not text or text.startswith((f"{case}/verbs.bpf.o", "verbs_enter (", "verbs_exit (")), text
    assert any(said.values())


@pytest.fixture(scope="module")
def strange(verbs, whole, tmp_path_factory):
    """Objects that are sound, but not what is wanted."""
    folder = tmp_path_factory.mktemp("strange")
    source, made = folder / "x.c", folder / "x.o"
    source.write_text("int x = 1;")
    (folder / "whole.o").write_bytes(whole)

    def compiled(*flags):
        subprocess.run(["clang", *flags, "-g", "-c", source, "-o", made], check=True)
        return made.read_bytes()

    def stripped(*flags):
        subprocess.run(["llvm-objcopy", *flags, folder / "whole.o", made], check=True)
        return made.read_bytes()

    return {
        "native": compiled(),
        "thirtytwo": compiled("-target", "i386-linux-gnu"),
        "bigendian": compiled("-target", "bpfeb"),
        "otherbpf": compiled("-target", "bpf"),
        "empty": b"",
        "script": b"#!/bin/sh\nexit 0\n" * 99,
        "nobtf": stripped("--remove-section=.BTF", "--remove-section=.BTF.ext"),
        "nosymbols": stripped("--strip-all"),
        "absent": None,
    }


DAMAGED = "not a BPF object file, or damaged; build it again"


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("native", DAMAGED),
        ("thirtytwo", DAMAGED),
        ("bigendian", DAMAGED),
        ("empty", DAMAGED),
        ("script", DAMAGED),
        ("otherbpf", "has no program called verbs_enter; correct the name in the plugin, or build it"),
        ("nobtf", "it has no section .BTF; build it with clang -target bpf -g"),
        ("absent", "is missing: the plugin was not built; run `make bpf`, or install its wheel"),
    ],
)
def test_an_object_of_another_kind_is_refused_with_the_next_step(load, strange, case, sentence):
    [text] = load({case: strange[case]}).values()
    assert text in {f"{case}/verbs.bpf.o: {sentence}", f"{case}/verbs.bpf.o {sentence}"}


def test_an_object_without_symbols_is_refused_by_name(load, strange):
    [text] = load({"nosymbols": strange["nosymbols"]}).values()
    assert text.startswith("nosymbols/verbs.bpf.o")


PLUGIN = """
import pluggy
from obi_core import Instrument, Kind, Mode, Probe, Program

class Damaged(Probe):
    __module__ = "damaged.probe"
    name = "verbs"
    instruments = (Instrument("obi.verbs.x", Kind.COUNTER, "{x}", "X."),)
    modes = (Mode("only", (Program("verbs_enter"),)),)

    def collect(self):
        return ()

@pluggy.HookimplMarker("obi")
def obi_register_probes():
    return [Damaged]
"""


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("cut", f"damaged/verbs.bpf.o: {DAMAGED}"),
        ("bigendian", f"damaged/verbs.bpf.o: {DAMAGED}"),
        ("nobtf", "damaged/verbs.bpf.o: it has no section .BTF; build it with clang -target bpf -g"),
        ("absent", "damaged/verbs.bpf.o is missing: the plugin was not built; run `make bpf`, or install its wheel"),
    ],
)
def test_the_doctor_gives_the_sentence_and_status_3(tmp_path, whole, strange, case, sentence):
    Site(tmp_path).install("obi-plugin-verbs", "verbs", PLUGIN)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/__init__.py").touch()
    data = {**strange, "cut": whole[:1000]}[case]
    if data is not None:
        (tmp_path / "damaged/verbs.bpf.o").write_bytes(data)
    clean = {name: text for name, text in os.environ.items() if not name.startswith("OBI_")}
    done = subprocess.run(
        [sys.executable, "-m", "obi_core", "doctor", "--plugins", "verbs"],
        cwd=ROOT,
        env={**clean, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
    lines = done.stdout.splitlines()
    first = lines.index("verbs (obi-plugin-verbs 1.2): none")
    assert lines[first + 1].startswith(f"  only           no: object_missing: {sentence}; ")
