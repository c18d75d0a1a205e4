"""Random C types: what BTF gives against clang's own offsets and sizes, and against an independent decoder.

clang lays the structs out and writes every offset and size into a data section of the same object; `struct.unpack_from` at
those offsets is the second opinion on random bytes. One compilation serves many structs.
"""

import ctypes
import math
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from obi_core.btf import Btf
from obi_core.elf import ElfObject
from obi_core.errors import ObiError

pytestmark = pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")


def compiling(examples):
    """Each example starts a compiler, so there are few of them and a failure is shown as it was found."""
    return settings(
        max_examples=examples, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck), database=None
    )


BATCH = 40
"""Structs of one compilation."""

SCALARS = {
    "char": "b",
    "signed char": "b",
    "unsigned char": "B",
    "short": "h",
    "unsigned short": "H",
    "int": "i",
    "unsigned int": "I",
    "long": "q",
    "unsigned long": "Q",
    "long long": "q",
    "unsigned long long": "Q",
    "_Bool": "?",
    "void *": "Q",
    "const volatile int": "i",
    "float": "f",
    "double": "d",
    "enum plain": "I",
    "fixed32": "i",
    "fixed64": "Q",
}
"""C types and their letters of `struct`; `long` has 8 bytes in BPF."""
PRELUDE = """
enum plain { PLAIN_ZERO, PLAIN_ONE = 1, PLAIN_LARGE = 0x7ffffff0 };
typedef int fixed32;
typedef const unsigned long long fixed64_base;
typedef volatile fixed64_base fixed64;
"""


@dataclass(frozen=True)
class Scalar:
    ctype: str


@dataclass(frozen=True)
class Array:
    element: object
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Record:
    """A struct or union; `members` are (type, alignment or 0)."""

    union: bool
    packed: bool
    aligned: int
    members: tuple[tuple[object, int], ...]


class Chance:
    """Random types. hypothesis draws the seed alone: forty structs are too much for it to draw part by part."""

    def __init__(self, seed):
        self._random = random.Random(seed)
        self.randbytes = self._random.randbytes

    def scalar(self):
        return Scalar(self._random.choice(sorted(SCALARS)))

    def type(self, depth):
        pick = self._random.random()
        if depth == 0 or pick < 0.5:
            return self.scalar()
        if pick < 0.6:
            return Array(Scalar("char"), (self._random.randint(1, 20),))
        if pick < 0.8:
            lengths = tuple(self._random.randint(1, 4) for _ in range(self._random.randint(1, 2)))
            return Array(self.type(depth - 1), lengths)
        return self.record(depth - 1)

    def record(self, depth=3):
        choice = self._random.choice
        members = [(self.type(depth), choice((0, 0, 0, 0, 1, 2, 8, 16))) for _ in range(self._random.randint(1, 6))]
        return Record(choice((False, False, True)), choice((False, False, True)), choice((0, 0, 4, 8, 32)), tuple(members))


chances = st.integers(0, 1 << 64).map(Chance)


def declare(made, name):
    """A member's declaration; arrays have their lengths behind the name."""
    if isinstance(made, Array):
        return declare(made.element, f"{name}{''.join(f'[{length}]' for length in made.lengths)}")
    if isinstance(made, Scalar):
        return f"{made.ctype} {name}"
    return f"{body(made)} {name}"


def body(made, tag=""):
    lines = " ".join(
        f"{declare(member, f'm{number}')}{f' __attribute__((aligned({align})))' if align else ''};"
        for number, (member, align) in enumerate(made.members)
    )
    attributes = [*(["packed"] if made.packed else []), *([f"aligned({made.aligned})"] if made.aligned else [])]
    suffix = f" __attribute__(({', '.join(attributes)}))" if attributes else ""
    return f"{'union' if made.union else 'struct'} {tag} {{ {lines} }}{suffix}"


def leaves(made, path=""):
    """Every scalar, by its C path; the elements of arrays one by one."""
    if isinstance(made, Scalar):
        yield path, made
    elif isinstance(made, Array):
        for index in indexes(made.lengths):
            yield from leaves(made.element, f"{path}{index}")
    else:
        for number, (member, _) in enumerate(made.members):
            yield from leaves(member, f"{path}.m{number}")


def indexes(lengths) -> Iterator[str]:
    if not lengths:
        yield ""
        return
    for number in range(lengths[0]):
        for rest in indexes(lengths[1:]):
            yield f"[{number}]{rest}"


def compiled(folder, source):
    made = folder / "made.o"
    command = ["clang", "-target", "bpf", "-O2", "-g", "-w", "-x", "c", "-c", "-", "-o", made]
    subprocess.run(command, input=source.encode(), check=True)
    elf = ElfObject(made.read_bytes(), "made.o")
    return elf, Btf(elf.section(".BTF"), "made.o")


class Batch:
    """Structs, compiled together: their ctypes types, and clang's offset of every scalar, in order, then the size."""

    def __init__(self, folder, made):
        parts = [PRELUDE]
        for number, each in enumerate(made):
            tag = f"{'union' if each.union else 'struct'} s{number}"
            offsets = [f"__builtin_offsetof({tag}, {path.removeprefix('.')})" for path, _ in leaves(each)]
            says = ", ".join([*offsets, f"sizeof({tag})"])
            parts += [
                f"{body(each, f's{number}')};",
                f"{tag} *obi_record_s{number};",
                f'const unsigned long says_{number}[] __attribute__((section("says"))) = {{ {says} }};',
            ]
        elf, btf = compiled(folder, "\n".join(parts))
        self.ctypes = btf.records()
        places, table = elf.variables("says"), elf.section("says")
        self.says = []
        for number in range(len(made)):
            at, size = places[f"says_{number}"]
            self.says.append(struct.unpack_from(f"<{size // 8}Q", table, at))


def reach(value, path):
    """Follow a C path through a ctypes object."""
    for step in path.replace("[", ".[").split(".")[1:]:
        value = value[int(step[1:-1])] if step.startswith("[") else getattr(value, step)
    return value


def same(found, expected):
    return found == expected or (isinstance(expected, float) and math.isnan(expected) and math.isnan(found))


def check(made, ctype, says, data):
    """Decode random bytes both ways."""
    *offsets, size = says
    assert ctypes.sizeof(ctype) == size
    record = ctype.from_buffer_copy(data[:size])
    for (path, scalar), offset in zip(leaves(made), offsets, strict=True):
        if scalar.ctype == "char" and path.endswith("]"):
            continue  # text, see below
        [expected] = struct.unpack_from(f"<{SCALARS[scalar.ctype]}", data, offset)
        assert same(reach(record, path), expected), (path, body(made))
    for holder, offset, length in texts_of(made, offsets):
        found = reach(record, holder)  # bytes where a member is the text, a ctypes array where an array's element is
        assert getattr(found, "value", found) == data[offset : offset + length].split(b"\0")[0], (holder, body(made))


def texts_of(made, offsets):
    """Innermost arrays of `char`: path, clang's offset and length."""
    found = {}
    for (path, scalar), offset in zip(leaves(made), offsets, strict=True):
        if scalar.ctype == "char" and path.endswith("]"):
            holder = path.rpartition("[")[0]
            start, length = found.get(holder, (offset, 0))
            found[holder] = (start, length + 1)
    return [(holder, start, length) for holder, (start, length) in found.items()]


@compiling(25)
@given(chance=chances)
def test_random_structs_have_clang_s_layout_and_decode_as_struct_unpack_does(tmp_path_factory, chance):
    made = [chance.record() for _ in range(BATCH)]
    batch = Batch(tmp_path_factory.mktemp("property"), made)
    for number, (each, says) in enumerate(zip(made, batch.says, strict=True)):
        for _ in range(3):
            check(each, batch.ctypes[f"s{number}"], says, chance.randbytes(says[-1]))


@compiling(10)
@given(
    chance=chances,
    kind=st.sampled_from(["int", "unsigned char", "long long", "_Bool"]),
    width=st.integers(1, 8),
    deep=st.booleans(),
)
def test_a_bitfield_anywhere_is_refused_by_name(tmp_path_factory, chance, kind, width, deep):
    made = chance.record()
    width = 1 if kind == "_Bool" else width
    field = f"{kind} narrow : {width};"
    inner = f"struct {{ {declare(made, 'before')}; {field} }} inner;" if deep else f"{declare(made, 'before')}; {field}"
    _, btf = compiled(
        tmp_path_factory.mktemp("bitfield"), f"{PRELUDE} struct holder {{ {inner} }}; struct holder *obi_record_it;"
    )
    where = r"holder\.inner\.narrow" if deep else r"holder\.narrow"
    with pytest.raises(ObiError, match=rf"{where} is a bitfield; use a whole integer"):
        btf.records()


@compiling(10)
@given(chance=chances, zero=st.booleans())
def test_a_flexible_member_is_refused_by_name(tmp_path_factory, chance, zero):
    made, element = chance.record(), chance.scalar()
    rest = declare(element, f"rest[{'0' if zero else ''}]")
    _, btf = compiled(
        tmp_path_factory.mktemp("flexible"),
        f"{PRELUDE} struct holder {{ {declare(made, 'before')}; {rest}; }}; struct holder *obi_record_it;",
    )
    with pytest.raises(ObiError, match=r"holder\.rest is a flexible member; give it a fixed size"):
        btf.records()
