"""Rows of DNS → observations, and names as they stand in messages. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

from obi_core import Observation, OwnerRecord, owner
from obi_plugin_network.catalogue import (
    DNS_ANOMALIES,
    DNS_DURATION,
    ERROR,
    OTHER,
    QUESTION_NAME,
    QUESTION_TYPE,
    name_of,
)

ANOMALIES: Final = ("malformed", "retransmitted", "unexpected")
"""`enum network_dns_anomaly` in network_dns_maps.h."""
TIMEOUT: Final = 0xFF
"""`NETWORK_DNS_TIMEOUT`, in place of a code."""
NO_NAME: Final = 0xFF
"""`NETWORK_DNS_NO_NAME`, first byte of a name that had no room."""

CODES: Final[Mapping[int, str]] = {
    1: "format_error",
    2: "server_failure",
    3: "nx_domain",
    4: "not_implemented",
    5: "refused",
    6: "yx_domain",
    7: "yx_rrset",
    8: "nx_rrset",
    9: "not_auth",
    10: "not_zone",
    11: "dso_type_not_implemented",
    TIMEOUT: "timeout",
}
"""Response codes (IANA, DNS RCODEs) as `error.type`; 0 is success. Those above 15 are in EDNS, which is not read."""
TYPES: Final[Mapping[int, str]] = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    13: "HINFO",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    29: "LOC",
    33: "SRV",
    35: "NAPTR",
    39: "DNAME",
    43: "DS",
    44: "SSHFP",
    46: "RRSIG",
    47: "NSEC",
    48: "DNSKEY",
    50: "NSEC3",
    51: "NSEC3PARAM",
    52: "TLSA",
    59: "CDS",
    60: "CDNSKEY",
    64: "SVCB",
    65: "HTTPS",
    251: "IXFR",
    252: "AXFR",
    255: "ANY",
    256: "URI",
    257: "CAA",
}
"""Types that people ask for (IANA, DNS Resource Record TYPEs); all others are `_OTHER`."""

_LONGEST_LABEL: Final = 63
_PLAIN: Final = frozenset(range(0x21, 0x7F)) - frozenset(b".\\")


class DnsKey(Protocol):
    """`struct network_dns_key`, 112 bytes."""

    owner: OwnerRecord
    type: int
    error: int
    name: Iterable[int]

    def __bytes__(self) -> bytes: ...


class AnomalyKey(Protocol):
    """`struct network_dns_anomaly_key`, 48 bytes."""

    owner: OwnerRecord
    anomaly: int

    def __bytes__(self) -> bytes: ...


class DurationsRow(Protocol):
    """`struct network_durations`: `u64 counts[96]`, then `u64 sum_ns`."""

    counts: Iterable[int]
    sum_ns: int


def question_name(raw: Iterable[int]) -> str | None:
    r"""Write a name the usual way, without the last dot; the root is `.`.

    Args:
        raw: `u8 name[64]` in wire format (RFC 1035, section 3.1): labels with their length, up to an empty one. What is no
            printable character, and a dot or backslash within a label, is written as `\DDD` (section 5.1).

    Returns:
        None for a name that had no room, or that contradicts itself.
    """
    data = bytes(raw)
    labels, at = [], 0
    while at < len(data) and (length := data[at]):
        label = data[at + 1 : at + 1 + length]
        if length > _LONGEST_LABEL or len(label) != length:
            return None
        labels.append("".join(chr(byte) if byte in _PLAIN else f"\\{byte:03}" for byte in label))
        at += 1 + length
    if at >= len(data):
        return None
    return ".".join(labels) or "."


def durations(rows: Iterable[tuple[DnsKey, DurationsRow]], *, names: bool) -> Iterator[Observation]:
    """Read how long answers took.

    Args:
        rows: `(struct network_dns_key, struct network_durations)` from map `network_dns_duration`; ns.
        names: Whether the kernel side keeps names.

    Yields:
        One observation per key: 96 bucket counts, then the sum in ns. A timeout counts with the time that was waited.
    Source: UDP packets to and from port 53 at their client's socket.
    Gaps: DNS over TCP, TLS, HTTPS or another port; response codes above 15 (EDNS), of which the lower four bits are read.
    """
    for key, row in rows:
        attributes = {QUESTION_TYPE: TYPES.get(key.type, OTHER)}
        if key.error:
            attributes[ERROR] = CODES.get(key.error, OTHER)
        if names and (name := question_name(key.name)) is not None:
            attributes[QUESTION_NAME] = name
        value = (*row.counts, row.sum_ns)
        yield Observation(DNS_DURATION, ("network_dns_duration", bytes(key)), value, owner(key.owner), attributes)


def anomalies(rows: Iterable[tuple[AnomalyKey, int]]) -> Iterator[Observation]:
    """Count DNS messages that have no duration.

    Args:
        rows: `(struct network_dns_anomaly_key, u64)` from map `network_dns_anomalies`.

    Yields:
        One observation per key. Unit: {message}, cumulative for its row, monotonic.
    """
    for key, count in rows:
        attributes = {ERROR: name_of(ANOMALIES, key.anomaly)}
        yield Observation(DNS_ANOMALIES, ("network_dns_anomalies", bytes(key)), count, owner(key.owner), attributes)
