"""When a certificate ends: the one thing that Python's ssl does not tell of a file. Source: RFC 5280, section 4.1."""

import binascii
import calendar
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_VALIDITY: Final = 3
"""Place in TBSCertificate after the optional version: serialNumber, signature, issuer, validity."""


def not_after(pem: str) -> list[float]:
    """When the certificates of a PEM file end, in their order, seconds since 1970; those that cannot be read are left out."""
    found: list[float] = []
    for part in pem.split(_BEGIN)[1:]:
        with suppress(ValueError):  # binascii.Error is one
            found.append(not_after_der(binascii.a2b_base64(part.partition(_END)[0])))
    return found


def not_after_der(der: bytes) -> float:
    """The same of a certificate in DER.

    Raises:
        ValueError: This is no certificate.
    """
    try:
        _, certificate = next(_elements(der))
        _, to_be_signed = next(_elements(certificate))
        parts = [body for tag, body in _elements(to_be_signed) if tag != _VERSION]
        _, (tag, text) = list(_elements(parts[_VALIDITY]))[:2]
        written = text.decode("ascii")
        if tag == _UTC_TIME:
            # two digits of the year: 50 to 99 are of the last century
            written = ("19" if written[:2] >= "50" else "20") + written
        return float(calendar.timegm(time.strptime(written, "%Y%m%d%H%M%SZ")))
    except (StopIteration, IndexError, UnicodeDecodeError, ValueError) as error:
        raise ValueError("no certificate") from error


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(der):
        tag, size, at = der[at], der[at + 1], at + 2
        if size & 0x80:
            width = size & 0x7F
            size, at = int.from_bytes(der[at : at + width], "big"), at + width
        yield tag, der[at : at + size]
        at += size
