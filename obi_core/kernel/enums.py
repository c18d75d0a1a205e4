"""Enums of the running kernel: their numbers differ from release to release, their names stay."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from obi_core.errors import ObiError

_MAGIC: Final = 0xEB9F
_HEADER: Final = struct.Struct("=HBBIIIII")
_ENUM, _ENUM64 = 6, 19
# Words behind the three of a type's head: fixed, and per member (Documentation/bpf/btf.rst), by kind.
_FIXED: Final = (0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0)
_EACH: Final = (0, 0, 0, 0, 3, 3, 2, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 3)


def kernel_enum(name: str, module: str = "", sys: Path = Path("/sys")) -> dict[str, int]:
    """Read the members of an enum of this kernel from its BTF.

    The sections are read once and let go: about 5 MB for some 20 ms.

    Args:
        name: C name, without `enum`.
        module: A loaded kernel module that defines it; empty: the kernel itself.
        sys: Where sysfs is mounted.

    Returns:
        Numbers by name, in the kernel's order; empty if the kernel has no BTF, no such module or no such enum. Numbers are
        unsigned unless BTF says otherwise.

    Raises:
        ObiError: The BTF is damaged.
    """
    folder = sys / "kernel/btf"
    try:
        return _members(name, folder / "vmlinux", folder / module if module else None)
    except FileNotFoundError:
        return {}
    except (struct.error, IndexError, ValueError) as error:
        raise ObiError(f"{folder / (module or 'vmlinux')} is damaged or not BTF: enum {name} cannot be read") from error


def _members(name: str, kernel: Path, module: Path | None) -> dict[str, int]:
    strings, types = _sections(kernel)
    if module is not None:
        # A module's strings go on where the kernel's end, and its types are its own.
        more, types = _sections(module)
        strings += more
    wanted = strings.find(b"\0%s\0" % name.encode()) + 1
    if not wanted:
        return {}
    return {_text(strings, at): value for at, value in _enum(memoryview(types).cast("I"), wanted)}


def _sections(path: Path) -> tuple[bytes, bytes]:
    """Read the strings and the types of one BTF file."""
    with path.open("rb", buffering=0) as file:
        magic, version, _, header, type_at, type_bytes, string_at, string_bytes = _HEADER.unpack(file.read(_HEADER.size))
        if (magic, version) != (_MAGIC, 1):
            raise ValueError("not BTF")
        return _section(path, header + string_at, string_bytes), _section(path, header + type_at, type_bytes)


def _section(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        section = file.read(size)
    if len(section) != size:
        raise ValueError("cut short")
    return section


def _enum(words: memoryview, wanted: int) -> Iterator[tuple[int, int]]:
    """Find the enum whose name is at `wanted` and give where each member's name is, and its value."""
    at, end = 0, len(words)
    while at < end:
        info = words[at + 1]
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        if words[at] == wanted and kind in (_ENUM, _ENUM64):
            size = _EACH[kind]
            for member in range(at + 3, at + 3 + count * size, size):
                value = words[member + 1] if kind == _ENUM else words[member + 1] | words[member + 2] << 32
                bits = 32 if kind == _ENUM else 64
                yield words[member], value - (1 << bits) if info >> 31 and value >> (bits - 1) else value
            return
        at += 3 + _FIXED[kind] + count * _EACH[kind]


def _text(strings: bytes, offset: int) -> str:
    return strings[offset : strings.index(b"\0", offset)].decode()
