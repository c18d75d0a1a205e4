"""Protobuf's wire format, as little of it as OTLP needs. Source: protobuf.dev, "Encoding"."""

import struct
from collections.abc import Iterable, Iterator
from typing import Final

_VARINT: Final = 0
_I64: Final = 1
_LEN: Final = 2
_I32: Final = 5
_SHORT: Final = tuple(bytes([number]) for number in range(128))


def varint(number: int) -> bytes:
    """Write a whole number from 0 in groups of seven bits, least first."""
    if number < 128:  # noqa: PLR2004 - one group
        return _SHORT[number]
    out = bytearray()
    while number > 127:  # noqa: PLR2004 - more follows
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number: int) -> bytes:
    """Write a sint32 or sint64."""
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def block(field: int, body: bytes) -> bytes:
    """Write a field with a length: a message, text, bytes, or packed numbers."""
    return varint(field << 3 | _LEN) + varint(len(body)) + body


def text(field: int, words: str) -> bytes:
    """Write a text; an empty one is left out."""
    return block(field, words.encode("utf-8", "replace")) if words else b""


def number(field: int, value: int) -> bytes:
    """Write a varint field."""
    return varint(field << 3 | _VARINT) + varint(value)


def signed(field: int, value: int) -> bytes:
    """Write a sint32 or sint64 field."""
    return varint(field << 3 | _VARINT) + zigzag(value)


def fixed(field: int, value: int) -> bytes:
    """Write a fixed64 field."""
    return varint(field << 3 | _I64) + struct.pack("<Q", value)


def double(field: int, value: float) -> bytes:
    """Write a double field."""
    return varint(field << 3 | _I64) + struct.pack("<d", value)


def attribute(field: int, key: str, value: str | float | bool) -> bytes:
    """Write a KeyValue: key = 1, value = 2, an AnyValue (string_value 1, bool_value 2, int_value 3, double_value 4)."""
    if isinstance(value, bool):
        any_value = number(2, int(value))
    elif isinstance(value, str):
        any_value = block(1, value.encode("utf-8", "replace"))
    elif isinstance(value, int):
        any_value = number(3, value & 0xFFFF_FFFF_FFFF_FFFF)
    else:
        any_value = double(4, value)
    return block(field, text(1, key) + block(2, any_value))


def attributes(field: int, pairs: Iterable[tuple[str, str | int | float | bool]]) -> bytes:
    """Write all pairs, in order."""
    return b"".join([attribute(field, key, value) for key, value in pairs])


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Read a message field by field: its number, and the number or bytes in it.

    Raises:
        ValueError: This is no protobuf.
    """
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _read_varint(message, at)
            yield tag >> 3, value
            continue
        if kind == _LEN:
            size, at = _read_varint(message, at)
        elif kind in {_I64, _I32}:
            size = 8 if kind == _I64 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(message):
            raise ValueError("a field reaches beyond the message")
        yield tag >> 3, message[at : at + size]
        at += size


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:  # noqa: PLR2004 - ten groups are the most
        value |= (message[at] & 127) << shift
        at += 1
        if message[at - 1] < 128:  # noqa: PLR2004 - the last group
            return value, at
        shift += 7
    raise ValueError("a number without end")
