"""What a person writes as an OTLP endpoint, and what the exporters want to hear."""

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

from obi_core.errors import ConfigError

Protocol = Literal["grpc", "http"]

GRPC_PORT: Final = 4317
HTTP_PORT: Final = 4318
_TLS_PORT: Final = 443
_FORMS: Final = "write HOST:PORT, http://HOST:PORT/PATH or https://HOST:PORT/PATH"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how OTLP is sent."""

    protocol: Protocol
    host: str
    """Without brackets."""
    port: int
    secure: bool
    """Whether the connection is TLS."""
    path: str = ""
    """Path for HTTP as the user wrote it; empty: the standard one of each signal."""

    @property
    def target(self) -> str:
        """`HOST:PORT`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def url(self, signal: str) -> str:
        """Give the exporter's URL; gRPC has no path.

        Args:
            signal: `metrics`, `traces` or `logs`.
        """
        path = "" if self.protocol == "grpc" else self.path or f"/v1/{signal}"
        return f"{'https' if self.secure else 'http'}://{self.target}{path}"


def parse_endpoint(text: str, protocol: Literal["auto", "grpc", "http"] = "auto", key: str = "otlp.endpoint") -> Endpoint:
    """Read an endpoint. Without a word about the protocol, port 4317 means gRPC and anything else, or a path, HTTP.

    Args:
        text: As the user wrote it.
        protocol: As the user wrote it.
        key: The setting it is from, for messages.

    Raises:
        ConfigError: `text` is no endpoint, or gRPC is asked of one with a path.
    """
    written = text.strip()
    parts, port = _split(written, key)
    path = "" if parts.path == "/" and not parts.query else parts.path + (f"?{parts.query}" if parts.query else "")
    chosen: Protocol = protocol if protocol != "auto" else "grpc" if port == GRPC_PORT and not path else "http"
    if path and chosen == "grpc":
        raise _error(f"{written} has a path, which gRPC has not; leave it out or say --otlp-protocol http", key)
    if port is None:
        port = _TLS_PORT if parts.scheme == "https" else GRPC_PORT if chosen == "grpc" else HTTP_PORT
    return Endpoint(chosen, parts.hostname or "", port, parts.scheme == "https", path)


def _split(written: str, key: str) -> tuple[SplitResult, int | None]:
    bare = "://" not in written
    try:
        parts = urlsplit(f"http://{written}" if bare else written)
        port = parts.port
    except ValueError:
        raise _error(f"{written} is no endpoint; {_FORMS}", key) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or (bare and (port is None or parts.path)):
        raise _error(f"{written} is no endpoint; {_FORMS}", key)
    if parts.username is not None:
        # not repeated: it holds a secret
        raise _error("the endpoint holds a user name; give credentials in otlp.headers instead", key)
    return parts, port


def _error(message: str, key: str) -> ConfigError:
    return ConfigError(f"{key}: {message}", key=key)
