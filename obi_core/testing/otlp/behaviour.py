"""How the receiver answers, and what it has received."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the receiver answers from now on."""

    delay_s: float = 0.0
    """Wait so long before the answer (or until the receiver closes)."""
    status: int = 200
    """HTTP status."""
    code: str = "OK"
    """gRPC status, by name."""
    headers: tuple[tuple[str, str], ...] = ()
    """HTTP headers and gRPC trailing metadata, such as Retry-After."""
    retry_info_s: float | None = None
    """A RetryInfo in the details of a gRPC error, s."""
    body: str = ""
    """Text of an HTTP error, details of a gRPC one."""
    rejected: int = 0
    """Items that a partial success rejects."""
    message: str = ""
    """What a partial success says."""
    hang_up: bool = False
    """Close the connection instead of answering (HTTP); abort with UNAVAILABLE (gRPC)."""
    cut: bool = False
    """Take the request, then close the connection in the middle of the answer (HTTP)."""
    drip_s: float = 0.0
    """Answer one byte at a time, each so long after the one before (HTTP)."""

    @property
    def takes(self) -> bool:
        """Whether a request that is answered so counts as taken."""
        return self.status < 400 and self.code == "OK" and not self.hang_up  # noqa: PLR2004 - HTTP's first error


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    protocol: str
    """`grpc` or `http`."""
    signal: str
    path: str
    """HTTP path or gRPC method."""
    headers: Mapping[str, str]
    """Names in lower case."""
    message: "Message"
    """The official request message of the signal."""
    client: str = ""
    """Serial number of the client's certificate, where it showed one (HTTP)."""


Answer = Behaviour | Callable[[Received], Behaviour]
"""One behaviour for all requests, or one that depends on the request."""
