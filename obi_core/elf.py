"""A small reader of BPF object files: sections, symbols, and which program uses which map.

Reads 64-bit little-endian relocatable ELF as clang -target bpf writes it (elf(5), Documentation/bpf/llvm_reloc.rst).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from obi_core.errors import ObiError

_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_IDENT: Final = b"\x7fELF\x02\x01"
_EM_BPF: Final = 247
_SHT_NOBITS, _SHT_SYMTAB, _SHT_REL = 8, 2, 9
_SHF_EXECINSTR: Final = 4
_STT_FUNC, _STT_SECTION = 2, 3
_INSTRUCTION: Final = struct.Struct("<BBhi")
_CALL, _LOAD_64, _PSEUDO_CALL = 0x85, 0x18, 1
_MAPS: Final = ".maps"


@dataclass(frozen=True, slots=True)
class Section:
    """One section."""

    name: str
    data: bytes
    """Empty for `.bss`."""
    executable: bool


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol."""

    name: str
    section: int
    """Index of its section; beyond the table for what is not in a section."""
    offset: int
    """Bytes from the start of its section."""
    size: int
    function: bool
    whole_section: bool
    local: bool


@dataclass(frozen=True, slots=True)
class ElfProgram:
    """One BPF program."""

    name: str
    """C function name."""
    section: str
    maps: frozenset[str]
    """Maps that it or a function it calls refers to."""
    data: frozenset[str]
    """Data sections (`.rodata`, `.bss`) that it or a function it calls refers to."""


class ElfObject:
    """A BPF object file.

    Args:
        data: The whole file.
        source: Its name, for errors.

    Raises:
        ObiError: It is not a BPF object, or is cut short.
    """

    def __init__(self, data: bytes, source: str = "object") -> None:
        self._source = source
        try:
            self._read(data)
            self.programs: dict[str, ElfProgram] = {program.name: program for program in self._programs()}
        except (struct.error, ArithmeticError, LookupError, ValueError) as error:
            raise ObiError(f"{source}: not a BPF object file, or damaged; build it again") from error

    def section(self, name: str) -> bytes:
        """Contents of a section.

        Raises:
            ObiError: There is none of that name.
        """
        for section in self.sections:
            if section.name == name:
                return section.data
        raise ObiError(f"{self._source}: it has no section {name}; build it with clang -target bpf -g")

    def variables(self, section: str) -> dict[str, tuple[int, int]]:
        """Variables of a data section: offset and size in bytes, by C name."""
        return {
            symbol.name: (symbol.offset, symbol.size)
            for symbol in self.symbols
            if not symbol.function and symbol.size and self._section_name(symbol) == section
        }

    def _read(self, data: bytes) -> None:
        ident, _, machine, _, _, _, start, _, _, _, _, entry, count, names = _HEADER.unpack_from(data)
        if not ident.startswith(_IDENT) or machine != _EM_BPF or entry != _SECTION.size:
            raise ValueError("not a 64-bit little-endian BPF object")
        heads = [_SECTION.unpack_from(data, start + index * entry) for index in range(count)]
        contents = [_contents(data, head) for head in heads]
        self.sections = tuple(
            Section(_text(contents[names], head[0]), content, bool(head[2] & _SHF_EXECINSTR))
            for head, content in zip(heads, contents, strict=True)
        )
        self.symbols: tuple[Symbol, ...] = ()
        self._relocations: dict[int, dict[int, int]] = {}
        for head, content in zip(heads, contents, strict=True):
            if head[1] == _SHT_SYMTAB:
                self.symbols = tuple(_symbols(content, contents[head[6]]))
            elif head[1] == _SHT_REL:
                # sh_info: the section that the entries patch; r_info: symbol number in the upper half.
                self._relocations[head[7]] = {at: info >> 32 for at, info in struct.iter_unpack("<QQ", content)}

    def _programs(self) -> Iterator[ElfProgram]:
        for symbol in self.symbols:
            if symbol.function and not symbol.local and self._section_name(symbol) not in ("", ".text"):
                maps: set[str] = set()
                data: set[str] = set()
                self._follow(symbol, maps, data)
                yield ElfProgram(symbol.name, self._section_name(symbol), frozenset(maps), frozenset(data))

    def _follow(self, entry: Symbol, maps: set[str], data: set[str]) -> None:
        """Collect what a function refers to, and whatever it calls."""
        waiting, seen = [(entry.section, entry.offset)], set()
        while waiting:
            place = waiting.pop()
            if place not in seen:
                seen.add(place)
                waiting += self._references(*place, maps, data)

    def _references(self, section: int, offset: int, maps: set[str], data: set[str]) -> Iterator[tuple[int, int]]:
        code = self.sections[section].data
        relocations = self._relocations.get(section, {})
        end = self._end(section, offset)
        if end > len(code):
            raise ValueError("a function is longer than its section")
        for at in range(offset, end, _INSTRUCTION.size):
            opcode, registers, _, immediate = _INSTRUCTION.unpack_from(code, at)
            if at in relocations:
                target = self.symbols[relocations[at]]
                name = self._section_name(target)
                if name == _MAPS:
                    maps.add(self._map_at(target, immediate))
                elif target.section < len(self.sections) and self.sections[target.section].executable:
                    yield target.section, target.offset + ((immediate + 1) * 8 if opcode == _CALL else immediate)
                elif name:
                    data.add(name)
            elif opcode == _CALL and registers >> 4 == _PSEUDO_CALL:
                yield section, at + (immediate + 1) * 8

    def _end(self, section: int, offset: int) -> int:
        for symbol in self.symbols:
            if symbol.function and symbol.section == section and symbol.offset == offset:
                return offset + symbol.size
        raise ValueError("a call leads to no function")

    def _map_at(self, target: Symbol, offset: int) -> str:
        """Name a map; one with static linkage is referred to by its place in the section."""
        if not target.whole_section:
            return target.name
        for symbol in self.symbols:
            if symbol.section == target.section and symbol.offset == offset and not symbol.whole_section:
                return symbol.name
        raise ValueError("a reference leads to no map")

    def _section_name(self, symbol: Symbol) -> str:
        """Name of the symbol's section, empty for a symbol that is in none."""
        return self.sections[symbol.section].name if 0 < symbol.section < len(self.sections) else ""


def _contents(data: bytes, head: tuple[int, ...]) -> bytes:
    kind, offset, size = head[1], head[4], head[5]
    if kind in (0, _SHT_NOBITS):
        return b""
    if offset + size > len(data):
        raise ValueError("cut short")
    return data[offset : offset + size]


def _symbols(content: bytes, names: bytes) -> Iterator[Symbol]:
    for name, info, _, section, value, size in _SYMBOL.iter_unpack(content):
        kind = info & 0xF
        yield Symbol(_text(names, name), section, value, size, kind == _STT_FUNC, kind == _STT_SECTION, info >> 4 == 0)


def _text(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode()
