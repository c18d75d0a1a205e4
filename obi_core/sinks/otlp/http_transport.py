"""OTLP over HTTP/protobuf: one kept connection, one deadline for a whole request.

`http.client` and not a library on top of it: their timeouts start anew with each byte, so that a server which sends one byte
a second is waited for without end, and they cannot be broken off from another thread.
"""

import gzip
import io
import select
import socket
import ssl
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse, IncompleteRead
from threading import Lock
from typing import Final

from obi_core.errors import ConfigError
from obi_core.sinks.otlp.endpoint import Endpoint
from obi_core.sinks.otlp.outcome import Outcome, of_http, unreachable
from obi_core.sinks.otlp.transport import Destination

_LEVEL: Final = 1
"""Of gzip: a tenth of the default's time for a few per cent more bytes."""
_MOST_BODY: Final = 1 << 20
"""Bytes of an answer that are read."""


class HttpTransport:
    """Carries requests of one signal.

    Args:
        to: Where to.
        clock: Monotonic, s.
    """

    def __init__(self, to: Destination, clock: Callable[[], float] = time.monotonic) -> None:
        self._to, self._clock = to, clock
        settings = to.export.settings
        self._timeout_s, self._gzip = settings.timeout_s, settings.compression == "gzip"
        self._server_name = settings.server_name or to.endpoint.host
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self._closed = False

    def send(self, payload: bytes) -> Outcome:
        """Send one request and read the answer, within the timeout."""
        deadline = self._clock() + self._timeout_s
        try:
            head = self._head(payload := gzip.compress(payload, _LEVEL, mtime=0) if self._gzip else payload)
        except ConfigError as error:
            return unreachable(error.message)
        try:
            connection = self._connection(deadline)
            self._write(connection, head + payload, deadline)
            return self._answer(connection, deadline)
        except TimeoutError:
            self._drop()
            return unreachable(f"no answer within {self._timeout_s:g} s")
        except ssl.SSLCertVerificationError as error:
            self._drop()
            return unreachable(f"the endpoint's certificate is not trusted: {error.verify_message}")
        except (OSError, HTTPException, ValueError) as error:
            self._drop()
            return unreachable(_said(error))

    def close(self) -> None:
        """Break off and close."""
        self._closed = True
        self._drop()

    def _head(self, payload: bytes) -> bytes:
        endpoint = self._to.endpoint
        path = "/" + self._to.url.split("/", 3)[3]
        lines = [f"POST {path} HTTP/1.1", f"host: {endpoint.target}", "content-type: application/x-protobuf"]
        lines += [f"content-length: {len(payload)}", "user-agent: obi", *(["content-encoding: gzip"] if self._gzip else [])]
        lines += [f"{name}: {value}" for name, value in self._to.headers.now().items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _connection(self, deadline: float) -> socket.socket:
        tls = self._to.tls
        changed = tls is not None and tls.changed()
        kept = self._socket
        if kept is not None and not changed and not _ended(kept):
            return kept
        self._drop()
        # known from the start, so that `close` breaks off a connect too
        made = connect(self._to.endpoint, deadline - self._clock(), self._take)
        if tls is not None:
            made.settimeout(_left(deadline, self._clock))
            made = tls.context.wrap_socket(made, server_hostname=self._server_name)
            self._take(made)
        return made

    def _take(self, made: socket.socket) -> None:
        with self._lock:
            if not self._closed:
                self._socket = made
                return
        made.close()
        raise OSError("the exporter is stopping")

    def _write(self, connection: socket.socket, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            connection.settimeout(_left(deadline, self._clock))
            rest = rest[connection.send(rest) :]

    def _answer(self, connection: socket.socket, deadline: float) -> Outcome:
        response = HTTPResponse(_Timed(connection, deadline, self._clock), method="POST")  # type: ignore[arg-type]
        response.begin()
        body = response.read(_MOST_BODY)
        if response.length and len(body) < _MOST_BODY:
            raise IncompleteRead(body, response.length)
        whole = response.isclosed() or not response.read(1)
        if response.will_close or not whole:
            self._drop()
        response.close()
        headers = response.headers
        return of_http(response.status, headers.get("retry-after", ""), headers.get("content-type", ""), body, time.time())

    def _drop(self) -> None:
        with self._lock:
            dropped, self._socket = self._socket, None
        if dropped is not None:
            try:
                # wakes a thread that waits for it
                dropped.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            finally:
                dropped.close()


class _Timed:
    """What HTTPResponse wants of a socket: a file to read from, here one that keeps a deadline."""

    def __init__(self, connection: socket.socket, deadline: float, clock: Callable[[], float]) -> None:
        self._raw = _TimedRaw(connection, deadline, clock)

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002 - always for reading
        """Open it."""
        return io.BufferedReader(self._raw)


class _TimedRaw(io.RawIOBase):
    def __init__(self, connection: socket.socket, deadline: float, clock: Callable[[], float]) -> None:
        self._connection, self._deadline, self._clock = connection, deadline, clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io says Buffer
        self._connection.settimeout(_left(self._deadline, self._clock))
        return self._connection.recv_into(buffer)


def connect(endpoint: Endpoint, timeout_s: float, opened: Callable[[socket.socket], None]) -> socket.socket:
    """Connect over TCP, to the first of the host's addresses that answers.

    Args:
        endpoint: Host and port.
        timeout_s: For each address.
        opened: Given each socket before it connects.

    Raises:
        OSError: None does.
    """
    refused: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM):
        made = socket.socket(family, kind, protocol)
        try:
            opened(made)
            made.settimeout(max(timeout_s, 0.001))
            made.connect(address)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            refused = error
            made.close()
        else:
            return made
    raise refused or OSError("no address")


def _left(deadline: float, clock: Callable[[], float]) -> float:
    left = deadline - clock()
    if left <= 0:
        raise TimeoutError
    return left


def _ended(connection: socket.socket) -> bool:
    # A server says nothing between two requests, unless it has closed or speaks out of turn.
    try:
        return bool(select.select([connection], [], [], 0)[0])
    except (OSError, ValueError):
        return True


def _said(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return f"its name is not known: {error.strerror}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"the connection was closed in the middle of an answer ({type(error).__name__})"
