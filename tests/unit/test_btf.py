"""BTF into ctypes: the layouts are clang's own, printed by a program compiled from the same header."""

import contextlib
import ctypes
import platform
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obi_core.btf import Btf
from obi_core.elf import ElfObject
from obi_core.errors import ObiError
from obi_core.hatch import include_dir

FIXTURES = Path(__file__).parents[1] / "fixtures" / "binding"

pytestmark = pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")

MEMBERS = [
    *("flag", "s8", "u16", "s16", "u8", "s32", "alias", "u64", "s64", "text", "address", "flags", "grid"),
    *("kind", "inner", "inners", "either", "unnamed_first", "unnamed_second", "pointer", "last"),
]


@pytest.fixture(scope="module")
def compile_btf(tmp_path_factory):
    def go(source, *, folder=FIXTURES):
        made = tmp_path_factory.mktemp("btf") / "made.o"
        arch = {"x86_64": "x86", "aarch64": "arm64"}[platform.machine()]
        flags = ["-target", "bpf", "-O2", "-g", f"-D__TARGET_ARCH_{arch}", "-I", include_dir(), "-I", folder]
        subprocess.run(["clang", *flags, "-x", "c", "-c", "-", "-o", made], input=source.encode(), check=True)
        return Btf(ElfObject(made.read_bytes(), "made.o").section(".BTF"), "made.o")

    return go


@pytest.fixture(scope="module")
def layout(compile_btf):
    return compile_btf((FIXTURES / "layout.bpf.c").read_text())


@pytest.fixture(scope="module")
def clang_says(tmp_path_factory):
    program = tmp_path_factory.mktemp("offsets") / "offsets"
    lines = "".join(
        f'printf("{name} %zu %zu\\n", offsetof(struct layout_all, {name}), sizeof(((struct layout_all *)0)->{name}));'
        for name in MEMBERS
    )
    lines += 'printf("whole 0 %zu\\n", sizeof(struct layout_all));'
    source = f'#include <stddef.h>\n#include <stdio.h>\n#include "layout.h"\nint main(void) {{ {lines} return 0; }}'
    subprocess.run(["clang", "-I", FIXTURES, "-x", "c", "-", "-o", program], input=source.encode(), check=True)
    printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return {name: (int(offset), int(size)) for name, offset, size in map(str.split, printed.splitlines())}


def test_every_member_stands_where_clang_puts_it(layout, clang_says):
    made = layout.records()["layout_all"]
    here = {name: (getattr(made, name).offset, getattr(made, name).size) for name in MEMBERS}
    assert here | {"whole": (0, ctypes.sizeof(made))} == clang_says


def test_values_read_back_as_they_were_written(layout):
    record = layout.named("layout_all")()
    record.flag, record.s8, record.u8, record.s16, record.alias, record.s64 = True, -3, 250, -30000, 2**32 - 1, -(2**60)
    record.text, record.kind, record.unnamed_second, record.pointer = b"curl", 7, 77, 2**64 - 1
    record.inners[2].second, record.grid[1][2], record.either.number = 65535, 6, 2**40 + 1
    copy = type(record).from_buffer_copy(bytes(record))
    assert (copy.flag, copy.s8, copy.u8, copy.s16, copy.alias, copy.s64) == (True, -3, 250, -30000, 2**32 - 1, -(2**60))
    assert (copy.text, copy.kind, copy.unnamed_second, copy.pointer) == (b"curl", 7, 77, 2**64 - 1)
    assert (copy.inners[2].second, copy.grid[1][2], list(copy.either.bytes)) == (65535, 6, [1, 0, 0, 0, 0])


def test_arrays_of_characters_are_text_and_arrays_of_bytes_are_numbers(layout):
    record = layout.named("layout_all")()
    assert (record.text, bytes(record.address), list(record.flags)) == (b"", bytes(16), [False] * 3)


def test_maps_give_the_types_of_their_definition(layout):
    maps = layout.maps()
    assert sorted(maps) == ["layout_scalars", "layout_union", "layout_untyped"]
    assert (maps["layout_scalars"].key, maps["layout_scalars"].value) == (ctypes.c_uint32, layout.named("layout_all"))
    assert (maps["layout_union"].key, ctypes.sizeof(maps["layout_union"].value)) == (ctypes.c_uint64, 8)
    assert (maps["layout_untyped"].key, maps["layout_untyped"].value) == (None, None)


def test_records_give_the_type_that_obi_record_names(compile_btf):
    btf = compile_btf("#include <obi/obi.h>\nstruct pair { u32 a; u64 b; };\nOBI_RECORD(x, struct pair); OBI_RECORD(y, u64);")
    records = btf.records()
    assert (sorted(records), records["y"], records["x"].b.offset) == (["x", "y"], ctypes.c_uint64, 8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("layout_bitfield", "made.o: layout_bitfield.low is a bitfield; use a whole integer"),
        ("layout_flexible", "made.o: layout_flexible.rest is a flexible member; give it a fixed size"),
        ("layout_nowhere", "made.o: no type is called layout_nowhere"),
    ],
)
def test_what_ctypes_cannot_express_is_refused_with_its_name(layout, name, message):
    with pytest.raises(ObiError) as caught:
        layout.named(name)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("ctype", "made"),
    [
        ("_Bool", ctypes.c_bool),
        ("char", ctypes.c_int8),
        ("unsigned char", ctypes.c_uint8),
        ("short", ctypes.c_int16),
        ("unsigned int", ctypes.c_uint32),
        ("const volatile long", ctypes.c_int64),
        ("unsigned long long", ctypes.c_uint64),
        ("void *", ctypes.c_uint64),
        ("enum { A, B }", ctypes.c_uint32),
        ("float", ctypes.c_float),
        ("double", ctypes.c_double),
    ],
)
def test_each_plain_type_has_its_ctypes_type(compile_btf, ctype, made):
    btf = compile_btf(f"struct holder {{ {ctype} member; }}; struct holder *obi_record_holder;")
    assert dict(btf.records()["holder"]._fields_)["member"] is made


def test_an_enum_whose_sign_is_not_told_is_refused(compile_btf):
    btf = compile_btf("enum sign { LEFT = -1 }; struct holder { enum sign member; }; struct holder *obi_record_holder;")
    with pytest.raises(ObiError, match=r"holder\.member is an enum whose sign BTF does not tell"):
        btf.records()


def btf_of(*types, strings=b"\0wide\0"):
    body = b"".join(types)
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings)) + body + strings


@pytest.mark.parametrize(("flag", "made"), [(0, ctypes.c_uint64), (1, ctypes.c_int64)])
def test_a_64_bit_enum_has_the_sign_of_its_flag(flag, made):
    enum64 = struct.pack("<III", 1, flag << 31 | 19 << 24 | 1, 8) + struct.pack("<III", 1, 5, 1)
    assert Btf(btf_of(enum64)).named("wide") is made


def test_a_typedef_that_leads_to_itself_is_refused():
    with pytest.raises(ObiError, match="refers to itself"):
        Btf(btf_of(struct.pack("<III", 1, 8 << 24, 1))).named("wide")


def test_a_struct_that_contains_itself_is_refused():
    looped = struct.pack("<III", 1, 4 << 24 | 1, 8) + struct.pack("<III", 1, 1, 0)
    with pytest.raises(ObiError, match="nested too deeply"):
        Btf(btf_of(looped)).named("wide")


def test_a_reference_past_the_end_is_refused():
    with pytest.raises(ObiError, match="refers to type 9, which it lacks"):
        Btf(btf_of(struct.pack("<III", 1, 8 << 24, 9))).named("wide")


@pytest.mark.parametrize(
    "types",
    [
        struct.pack("<III", 1, 4 << 24 | 1, 8) + struct.pack("<III", 1, 9, 0),
        struct.pack("<III", 0, 3 << 24, 0) + struct.pack("<III", 9, 0, 1),
        struct.pack("<III", 0, 2 << 24, 9),
        struct.pack("<III", 1, 15 << 24 | 1, 8) + struct.pack("<III", 9, 0, 8),
    ],
    ids=["member", "array", "pointer", "section"],
)
def test_a_reference_past_the_end_is_found_before_anybody_asks_for_its_type(types):
    with pytest.raises(ObiError, match="refers to type 9, which it lacks"):
        Btf(btf_of(types))


def test_a_member_s_name_past_the_end_is_found_before_anybody_asks_for_its_type():
    with pytest.raises(ObiError, match="its BTF is damaged"):
        Btf(btf_of(struct.pack("<III", 1, 4 << 24 | 1, 8) + struct.pack("<III", 99, 0, 0)))


def test_a_map_s_numbers_are_those_of_its_definition(compile_btf):
    made = compile_btf(
        "struct { int (*type)[9]; int (*max_entries)[128]; int (*map_flags)[0]; unsigned *key; long *value; }"
        ' lru __attribute__((section(".maps")));'
    ).maps()["lru"]
    assert (made.key, made.value) == (ctypes.c_uint32, ctypes.c_int64)
    assert made.numbers == {"type": 9, "max_entries": 128, "map_flags": 0}


@given(st.integers(0, 4000), st.integers(0, 255))
def test_damaged_btf_is_a_sentence_and_never_a_struct_error(damaged, at, byte):
    damaged(at, byte)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    made = tmp_path_factory.mktemp("damaged") / "made.o"
    flags = ["-target", "bpf", "-O2", "-g", "-D__TARGET_ARCH_x86", "-I", include_dir(), "-I", FIXTURES]
    subprocess.run(["clang", *flags, "-c", FIXTURES / "layout.bpf.c", "-o", made], check=True)
    raw = ElfObject(made.read_bytes()).section(".BTF")

    def go(at, byte):
        for data in (raw[:at], raw[:at] + bytes([byte]) + raw[at + 1 :]):
            with contextlib.suppress(ObiError):
                btf = Btf(data, "made.o")
                btf.maps()
                btf.records()

    return go
