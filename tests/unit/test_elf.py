"""Objects as clang writes them: which program stands where and which maps it uses."""

import contextlib
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obi_core.elf import ElfObject
from obi_core.errors import ObiError
from obi_core.hatch import include_dir

FIXTURES = Path(__file__).parents[1] / "fixtures" / "binding"

pytestmark = pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")

CALLS = """
#include <obi/obi.h>
OBI_HASH(direct, u32, u64, 1);
OBI_HASH(called, u32, u64, 1);
OBI_HASH(deep, u32, u64, 1);
OBI_HASH(walked, u32, u64, 1);
OBI_HASH(elsewhere, u32, u64, 1);
static OBI_HASH(hidden, u32, u64, 1);
OBI_SETTING(u32, first_setting, 1);
OBI_SETTING(u8, second_setting, 2);

static __noinline int inner(u32 key) { return OBI_LOOKUP(deep, &key) != 0; }
static __noinline int outer(u32 key) { return (OBI_LOOKUP(called, &key) != 0) + inner(key + 1); }
static int visit(void *map, u32 *key, u64 *value, void *context) { return OBI_LOOKUP(walked, key) != 0; }
__noinline int shared(u32 key) { return inner(key); }

SEC("raw_tp/a") int uses_direct(u64 *ctx) { u32 key = ctx[0]; return OBI_LOOKUP(direct, &key) != 0; }
SEC("raw_tp/a") int uses_called(u64 *ctx) { return outer(ctx[0]); }
SEC("raw_tp/b") int uses_global_function(u64 *ctx) { return shared(ctx[0]); }
SEC("raw_tp/c") int uses_callback(u64 *ctx) { return bpf_for_each_map_elem(&direct, visit, 0, 0); }
SEC("raw_tp/d") int uses_hidden(u64 *ctx) { u32 key = ctx[0]; return OBI_LOOKUP(hidden, &key) != 0; }
SEC("raw_tp/e") int uses_setting(u64 *ctx) { return first_setting + second_setting; }
SEC("raw_tp/f") int uses_nothing(u64 *ctx) { return 0; }
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    def go(source, *target):
        made = tmp_path_factory.mktemp("elf") / "made.o"
        arch = {"x86_64": "x86", "aarch64": "arm64"}[platform.machine()]
        flags = [*(target or ("-target", "bpf")), "-O2", "-g", f"-D__TARGET_ARCH_{arch}", "-I", include_dir()]
        subprocess.run(["clang", *flags, "-Wno-unused", "-x", "c", "-c", "-", "-o", made], input=source.encode(), check=True)
        return made.read_bytes()

    return go


@pytest.fixture(scope="module")
def calls(compiled):
    return ElfObject(compiled(CALLS), "calls.bpf.o")


def test_programs_have_the_section_of_their_hook_and_may_share_it(calls):
    assert {name: program.section for name, program in calls.programs.items()} == {
        "uses_direct": "raw_tp/a",
        "uses_called": "raw_tp/a",
        "uses_global_function": "raw_tp/b",
        "uses_callback": "raw_tp/c",
        "uses_hidden": "raw_tp/d",
        "uses_setting": "raw_tp/e",
        "uses_nothing": "raw_tp/f",
    }


@pytest.mark.parametrize(
    ("program", "maps"),
    [
        ("uses_direct", {"direct"}),
        ("uses_called", {"called", "deep"}),
        ("uses_global_function", {"deep"}),
        ("uses_callback", {"direct", "walked"}),
        ("uses_hidden", {"hidden"}),
        ("uses_setting", set()),
        ("uses_nothing", set()),
    ],
)
def test_a_program_refers_to_the_maps_that_it_or_its_callees_use(calls, program, maps):
    assert calls.programs[program].maps == maps


def test_only_the_program_that_reads_a_setting_needs_the_constants(calls):
    assert {name for name, program in calls.programs.items() if program.data == {".rodata"}} == {"uses_setting"}


def test_settings_have_their_place_and_size(calls):
    places = calls.variables(".rodata")
    sizes = {name: size for name, (_, size) in places.items() if name.endswith("_setting")}
    assert sizes == {"first_setting": 4, "second_setting": 1}
    data = calls.section(".rodata")
    assert [data[offset : offset + size] for offset, size in (places["first_setting"], places["second_setting"])] == [
        b"\1\0\0\0",
        b"\2",
    ]


def test_a_section_that_is_not_there_is_named(calls):
    with pytest.raises(ObiError, match=r"calls\.bpf\.o: it has no section \.nope"):
        calls.section(".nope")


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"#!/bin/sh\n" * 50])
def test_what_is_no_object_is_refused_with_a_sentence(data):
    with pytest.raises(ObiError) as caught:
        ElfObject(data, "x.bpf.o")
    assert str(caught.value) == "x.bpf.o: not a BPF object file, or damaged; build it again"


def test_an_object_for_another_machine_is_refused(compiled):
    with pytest.raises(ObiError, match="not a BPF object file"):
        ElfObject(compiled("int x;", "-I", "."))


@given(cut=st.integers(0, 20_000))
def test_a_truncated_object_is_refused_with_a_sentence(cut_object, cut):
    data, read = cut_object
    if cut < len(data):
        read(data[:cut])


@given(at=st.integers(0, 20_000), byte=st.integers(0, 255))
def test_a_damaged_object_is_read_or_refused_with_a_sentence(cut_object, at, byte):
    data, read = cut_object
    at %= len(data)
    read(data[:at] + bytes([byte]) + data[at + 1 :])


@pytest.fixture(scope="module")
def cut_object(compiled):
    def read(data):
        with contextlib.suppress(ObiError):
            ElfObject(data, "x.bpf.o").variables(".rodata")

    return compiled(CALLS), read
