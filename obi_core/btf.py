"""BTF bytes into ctypes types: the C struct is the only definition of a record.

Reads the `.BTF` section of a BPF object (Documentation/bpf/btf.rst). Bitfields and flexible members are refused.
"""

import ctypes
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from obi_core.errors import ObiError

if TYPE_CHECKING:
    CType = type[ctypes.Structure | ctypes.Union | ctypes.Array[Any] | ctypes._SimpleCData[Any]]  # noqa: SLF001 - it has no other name
else:
    CType = type

RECORD_PREFIX: Final = "obi_record_"
"""Of the unused pointer variables that `OBI_RECORD` leaves in BTF."""
PAD_PREFIX: Final = "_pad_at_"
"""Of the members that stand for the compiler's padding."""

_MAGIC: Final = 0xEB9F
_HEADER: Final = struct.Struct("<HBBIIIII")
_TYPE: Final = struct.Struct("<III")
_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FWD, _TYPEDEF, _VOLATILE, _CONST, _RESTRICT = range(1, 12)
_FUNC, _FUNC_PROTO, _VAR, _DATASEC, _FLOAT, _DECL_TAG, _TYPE_TAG, _ENUM64 = range(12, 20)
_ALIASES: Final = frozenset({_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG})
# Bytes that follow a type's head: fixed, and per member.
_TAILS: Final = {
    _INT: (4, 0), _PTR: (0, 0), _ARRAY: (12, 0), _STRUCT: (0, 12), _UNION: (0, 12), _ENUM: (0, 8), _FWD: (0, 0),
    _TYPEDEF: (0, 0), _VOLATILE: (0, 0), _CONST: (0, 0), _RESTRICT: (0, 0), _FUNC: (0, 0), _FUNC_PROTO: (0, 8),
    _VAR: (4, 0), _DATASEC: (0, 12), _FLOAT: (0, 0), _DECL_TAG: (4, 0), _TYPE_TAG: (0, 0), _ENUM64: (0, 12),
}  # fmt: skip
# Which words of what follows the head are type numbers (a slice), and at which distance names stand.
_WORDS: Final = {
    _ARRAY: ((0, 2), 0), _STRUCT: ((1, None, 3), 3), _UNION: ((1, None, 3), 3), _DATASEC: ((0, None, 3), 0),
    _FUNC_PROTO: ((1, None, 2), 2), _ENUM: ((0,), 2), _ENUM64: ((0,), 3),
}  # fmt: skip
_SIGNED: Final = {1: ctypes.c_int8, 2: ctypes.c_int16, 4: ctypes.c_int32, 8: ctypes.c_int64}
_UNSIGNED: Final = {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_uint64}
_FLOATS: Final = {4: ctypes.c_float, 8: ctypes.c_double}
_IS_SIGNED, _IS_CHAR, _IS_BOOL = 1, 2, 4
_MOST_DEPTH: Final = 64


@dataclass(frozen=True, slots=True)
class _Raw:
    """One type as it stands in the section."""

    kind: int
    name: str
    flag: bool
    size: int
    """Or the type it refers to, by kind."""
    tail: bytes
    """What follows the head: members, array bounds, integer encoding."""


@dataclass(frozen=True, slots=True)
class MapTypes:
    """Key and value of one map; None where its definition gives a size only."""

    key: CType | None
    value: CType | None
    numbers: Mapping[str, int] = field(default_factory=dict)
    """What `__uint` says in its definition: `type`, `max_entries`, `map_flags`, …"""


def is_scalar(ctype: CType) -> bool:
    """Whether ctypes gives values of this type as plain Python numbers."""
    return not issubclass(ctype, ctypes.Structure | ctypes.Union | ctypes.Array)


class Btf:
    """All types of one object.

    Args:
        data: The `.BTF` section, little-endian.
        source: Where it comes from, for errors.

    Raises:
        ObiError: The bytes are not BTF, or are cut short.
    """

    def __init__(self, data: bytes, source: str = "BTF") -> None:
        self._source = source
        self._made: dict[int, CType] = {}
        with self._guarded():
            self._strings, self._types = _read(data)
            self._check()

    def named(self, name: str) -> CType:
        """Make the ctypes type of a struct, union, enum, integer or typedef by its C name (without `struct`).

        Raises:
            ObiError: There is no such type, or ctypes cannot express it.
        """
        with self._guarded():
            for number, raw in enumerate(self._types):
                if raw.name == name and raw.kind in (_STRUCT, _UNION, _ENUM, _ENUM64, _INT, _TYPEDEF, _FLOAT):
                    return self._ctype(number, name)
        raise ObiError(f"{self._source}: no type is called {name}")

    def maps(self) -> dict[str, MapTypes]:
        """Types of all maps that the source defines in `.maps`, by map name."""
        with self._guarded():
            return {name: self._map_types(name, number) for name, number in self._variables(".maps")}

    def records(self) -> dict[str, CType]:
        """Types that `OBI_RECORD(name, type)` pins, by name."""
        with self._guarded():
            return {
                raw.name.removeprefix(RECORD_PREFIX): self._pointee(raw.size, raw.name)
                for raw in self._types
                if raw.kind == _VAR and raw.name.startswith(RECORD_PREFIX)
            }

    def _check(self) -> None:
        """Follow every number and name, also of types that nobody asks for: libbpf before 1.3 does not, and crashes."""
        for raw in self._types:
            words = struct.unpack(f"<{len(raw.tail) // 4}I", raw.tail)
            numbers, names = _WORDS.get(raw.kind, ((0,), 0))
            own = raw.size if raw.kind in _ALIASES | {_PTR, _FUNC, _FUNC_PROTO, _VAR, _DECL_TAG} else 0
            self._at(max(own, *words[slice(*numbers)], 0))
            if names and max(words[::names], default=0) >= len(self._strings):
                raise ValueError("a name past the end")

    def _variables(self, section: str) -> list[tuple[str, int]]:
        found = []
        for raw in self._types:
            if raw.kind == _DATASEC and raw.name == section:
                for number, _, _ in struct.iter_unpack("<III", raw.tail):
                    variable = self._at(number)
                    found.append((variable.name, variable.size))
        return found

    def _map_types(self, name: str, number: int) -> MapTypes:
        types: dict[str, CType] = {}
        numbers: dict[str, int] = {}
        for member, target, _, _ in self._members(self._types[self._bare(number)]):
            if member in ("key", "value"):
                types[member] = self._pointee(target, f"map {name}, {member}")
            elif (length := self._length(target)) is not None:
                numbers[member] = length
        return MapTypes(types.get("key"), types.get("value"), numbers)

    def _length(self, number: int) -> int | None:
        """The number in `int (*name)[number]`, which is how `__uint` writes one; None for a member of another form."""
        pointer = self._types[self._bare(number)]
        if pointer.kind == _PTR and (array := self._types[self._bare(pointer.size)]).kind == _ARRAY:
            return int(struct.unpack("<III", array.tail)[2])
        return None

    def _pointee(self, number: int, where: str) -> CType:
        pointer = self._types[self._bare(number)]
        if pointer.kind != _PTR:
            raise ObiError(f"{self._source}: {where} is not a pointer; write OBI_RECORD(name, type) or __type(…)")
        target = self._types[self._bare(pointer.size)]
        return self._ctype(pointer.size, target.name or where)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Damage shows anywhere: as a number out of range, a size that ctypes refuses, a name past the end."""
        try:
            yield
        except (struct.error, ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
            raise ObiError(f"{self._source}: its BTF is damaged or of another kind; build the object again") from error

    def _at(self, number: int) -> _Raw:
        if number >= len(self._types):
            raise ObiError(f"{self._source}: its BTF refers to type {number}, which it lacks; build the object again")
        return self._types[number]

    def _bare(self, number: int) -> int:
        """Follow typedef, const and the like to the type itself."""
        for _ in range(_MOST_DEPTH):
            if self._at(number).kind not in _ALIASES:
                return number
            number = self._at(number).size
        raise ObiError(f"{self._source}: type {number} of its BTF refers to itself; build the object again")

    def _members(self, raw: _Raw) -> list[tuple[str, int, int, int]]:
        """Members of a struct or union: name, type, offset in bits, width in bits (0: not a bitfield)."""
        found = []
        for name, number, offset in struct.iter_unpack("<III", raw.tail):
            bits, width = (offset & 0xFFFFFF, offset >> 24) if raw.flag else (offset, 0)
            found.append((self._name(name), number, bits, width))
        return found

    def _name(self, offset: int) -> str:
        return _text(self._strings, offset)

    def _ctype(self, number: int, where: str, depth: int = 0) -> CType:
        if depth > _MOST_DEPTH:
            raise ObiError(f"{self._source}: {where}: its type is nested too deeply")
        bare = self._bare(number)
        if bare not in self._made:
            self._made[bare] = self._make(self._types[bare], where, depth + 1)
        return self._made[bare]

    def _make(self, raw: _Raw, where: str, depth: int) -> CType:
        if raw.kind in (_STRUCT, _UNION):
            return self._make_struct(raw, where, depth)
        if raw.kind == _ARRAY:
            return self._make_array(raw, where, depth)
        if raw.kind == _INT:
            return self._make_int(raw, where)
        if raw.kind in (_ENUM, _ENUM64):
            return self._make_enum(raw, where)
        plain = ctypes.c_uint64 if raw.kind == _PTR else _FLOATS.get(raw.size) if raw.kind == _FLOAT else None
        if plain is not None:
            return plain
        raise ObiError(f"{self._source}: {where} has a type that cannot be decoded ({raw.name or f'BTF kind {raw.kind}'})")

    def _make_array(self, raw: _Raw, where: str, depth: int) -> CType:
        element, _, count = struct.unpack("<III", raw.tail)
        if count == 0:
            raise ObiError(f"{self._source}: {where} is a flexible member; give it a fixed size")
        array: CType = (ctypes.c_char if self._is_text(element) else self._ctype(element, where, depth)) * count
        return array

    def _make_struct(self, raw: _Raw, where: str, depth: int) -> CType:
        """Lay out every byte by hand (`_pack_` 1, padding as members), so that ctypes has nothing to decide."""
        fields: list[tuple[str, CType]] = []
        unnamed: list[str] = []
        at = 0
        for name, number, bits, width in self._members(raw):
            place = f"{where}.{name}" if name else where
            if width or bits % 8:
                raise ObiError(f"{self._source}: {place} is a bitfield; use a whole integer")
            ctype = self._ctype(number, place, depth)
            if raw.kind == _STRUCT:
                fields += _pad(at, bits // 8)
                at = bits // 8 + ctypes.sizeof(ctype)
            if not name:
                name = f"_unnamed{len(unnamed)}"  # noqa: PLW2901 - C gives it no name, ctypes needs one
                unnamed.append(name)
            fields.append((name, ctype))
        if raw.kind == _STRUCT:
            fields += _pad(at, raw.size)
        else:
            # A union is longer than its members when it is aligned.
            fields += _pad(0, raw.size) if raw.size > max((ctypes.sizeof(ctype) for _, ctype in fields), default=0) else []
        base = ctypes.Structure if raw.kind == _STRUCT else ctypes.Union
        body = {"_pack_": 1, "_anonymous_": unnamed, "_fields_": fields, "__slots__": ()}
        made: CType = type(raw.name or "unnamed", (base,), body)
        if ctypes.sizeof(made) != raw.size:
            raise ObiError(f"{self._source}: {where} is {raw.size} bytes in BTF, its members make {ctypes.sizeof(made)}")
        return made

    def _make_int(self, raw: _Raw, where: str) -> CType:
        (encoding,) = struct.unpack("<I", raw.tail)
        flags, offset, bits = encoding >> 24 & 0xF, encoding >> 16 & 0xFF, encoding & 0xFF
        if flags & _IS_BOOL and raw.size == 1:
            return ctypes.c_bool
        if offset or bits != raw.size * 8 or raw.size not in _SIGNED:
            raise ObiError(f"{self._source}: {where} is an integer of {bits} bits; use one of 8, 16, 32 or 64")
        return (_SIGNED if flags & _IS_SIGNED else _UNSIGNED)[raw.size]

    def _make_enum(self, raw: _Raw, where: str) -> CType:
        words = struct.iter_unpack("<Ii" if raw.kind == _ENUM else "<III", raw.tail)
        # Compilers before LLVM 15 never set the flag, so a negative enumerator looks like a large one.
        if raw.kind == _ENUM and not raw.flag and any(value < 0 for _, value in words):
            raise ObiError(f"{self._source}: {where} is an enum whose sign BTF does not tell; use an integer type")
        return (_SIGNED if raw.flag else _UNSIGNED)[raw.size]

    def _is_text(self, number: int) -> bool:
        raw = self._types[self._bare(number)]
        return raw.kind == _INT and raw.size == 1 and (raw.name == "char" or bool(raw.tail[3] & _IS_CHAR))


def _pad(start: int, end: int) -> list[tuple[str, CType]]:
    return [(f"{PAD_PREFIX}{start}", ctypes.c_uint8 * (end - start))] if end > start else []


def _text(strings: bytes, offset: int) -> str:
    return strings[offset : strings.index(b"\0", offset)].decode()


def _read(data: bytes) -> tuple[bytes, list[_Raw]]:
    magic, version, _, header, type_offset, type_bytes, string_offset, string_bytes = _HEADER.unpack_from(data)
    strings = data[header + string_offset :][:string_bytes]
    section = data[header + type_offset :][:type_bytes]
    if (magic, version) != (_MAGIC, 1) or len(strings) != string_bytes or len(section) != type_bytes:
        raise ValueError("not BTF")
    types = [_Raw(0, "void", False, 0, b"")]
    at = 0
    while at < len(section):
        name, info, size = _TYPE.unpack_from(section, at)
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        fixed, each = _TAILS[kind]
        tail = section[at + _TYPE.size :][: fixed + each * count]
        if len(tail) != fixed + each * count:
            raise ValueError("cut short")
        types.append(_Raw(kind, _text(strings, name), bool(info >> 31), size, tail))
        at += _TYPE.size + len(tail)
    return strings, types
