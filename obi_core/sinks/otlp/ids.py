"""Trace and span ids: made from a link, so that a span and its logs agree without waiting for each other."""

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from hashlib import blake2b

_KEY_BYTES = 16
_IDS_BYTES = 24


@dataclass(frozen=True, slots=True)
class Ids:
    """Names one span."""

    trace_id: bytes
    """16 bytes."""
    span_id: bytes
    """8 bytes."""


class IdMaker:
    """Makes ids; the same link of the same probe gives the same ids for the life of this object, and never elsewhere.

    Args:
        random: Gives so many random bytes.
    """

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random
        self._key = random(_KEY_BYTES)

    def of(self, probe: str, link: Hashable) -> Ids | None:
        """Ids of the span with this link; None without a link."""
        if link is None:
            return None
        return _split(blake2b(f"{probe}\0{link!r}".encode(), digest_size=_IDS_BYTES, key=self._key).digest())

    def new(self) -> Ids:
        """Ids of a span that no log leads to."""
        return _split(self._random(_IDS_BYTES))


def _split(digest: bytes) -> Ids:
    # Ids of zeros alone mean "none"; Tempo's search drops leading zeros, so the first digit is none either.
    lead = bytes([digest[0] | 0x10])
    return Ids(lead + digest[1:16], bytes([digest[16] | 0x10]) + digest[17:24])
