"""What both HTTP servers of the agent share: bounds on connections, on the size of a request, and on its time.

The standard library parses (docs/adr/0014-http-by-the-standard-library.md). A request's head is read here, whole, before a
handler sees it, so neither its size nor its slowness can hold a thread. When all places are taken, the connection that has
waited longest for the rest of its request makes room: who sends slowly loses to who sends at once.
"""

import logging
import socket
import socketserver
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import TYPE_CHECKING, Final

REQUEST_BYTES: Final = 8192
REQUEST_S: Final = 5.0
CONNECTIONS: Final = 16
_ROOM_S: Final = 0.25
"""How long a new connection waits for the place of one that was told to make room."""

_log: Final = logging.getLogger("obi.http")

Request = socket.socket | tuple[bytes, socket.socket]

if TYPE_CHECKING:
    _Threading = socketserver.ThreadingMixIn
    _TcpServer = socketserver.TCPServer
else:
    _Threading = _TcpServer = object


class Bounded(_Threading):
    """A mixin for a threading server; stands before it among the bases."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 4 * CONNECTIONS

    def bound(self) -> None:
        """Prepare; to be called before the first connection."""
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self._lock = threading.Lock()
        self._reading: dict[int, socket.socket] = {}

    def process_request(self, request: Request, client_address: object) -> None:
        """Serve on a thread of its own if there is room, or if room can be made; else close."""
        if not self._free.acquire(blocking=False):
            self._displace()
            if not self._free.acquire(timeout=_ROOM_S):
                self.shutdown_request(request)  # type: ignore[attr-defined]  # the server's, which this is mixed into
                return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Request, client_address: object) -> None:
        """Serve, and give the place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, _request: object, client_address: object) -> None:
        """Note it at DEBUG: who hangs up is its own affair."""
        _log.debug("request from %s failed", client_address, exc_info=True)

    def head(self, connection: socket.socket) -> bytes | None:
        """Read the head of a request; None if it is too long, too slow, or cut short."""
        with self._lock:
            self._reading[id(connection)] = connection
        try:
            return _head(connection)
        finally:
            with self._lock:
                self._reading.pop(id(connection), None)

    def _displace(self) -> None:
        # Dicts keep their order: the first has been reading for longest.
        with self._lock:
            oldest = next(iter(self._reading.values()), None)
            if oldest is not None:
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
                self._reading.pop(id(oldest))


class WholeHead(BaseHTTPRequestHandler):
    """A handler that parses a head which is there as a whole. `complete` says whether it is."""

    server_version = "obi"
    sys_version = ""

    def setup(self) -> None:
        """Read the head."""
        super().setup()
        server = self.server
        head = server.head(self.connection) if isinstance(server, Bounded) else _head(self.connection)
        self.complete = head is not None
        self.rfile.close()
        self.rfile = BytesIO(head or b"")
        self.connection.settimeout(REQUEST_S)  # of the whole answer: a client that does not read it holds nobody

    def handle(self) -> None:
        """Answer, or refuse."""
        if self.complete:
            super().handle()
            return
        self.requestline, self.request_version, self.command = "", "HTTP/1.0", ""
        self.send_error(431, f"a request has at most {REQUEST_BYTES} bytes, and {REQUEST_S:g} s")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - the base class's signature
        """Refuse in one sentence, with a status line also to those whose version of HTTP is not known."""
        self.request_version = "HTTP/1.0"
        self.refuse(code, message or "refused")

    def refuse(self, code: int, sentence: str) -> None:
        """Write a refusal; text, unless a handler speaks something else."""
        self.answer(code, "text/plain; charset=utf-8", f"{sentence}\n".encode(errors="replace"))

    def answer(self, code: int, kind: str, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Write an answer."""
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Log requests at DEBUG: probes ask every few seconds."""
        _log.debug(format, *args)


def _head(connection: socket.socket) -> bytes | None:
    until = time.monotonic() + REQUEST_S
    head = bytearray()
    while b"\r\n\r\n" not in head and b"\n\n" not in head:
        left = until - time.monotonic()
        if left <= 0 or len(head) > REQUEST_BYTES:
            return None
        connection.settimeout(left)
        try:
            part = connection.recv(REQUEST_BYTES)
        except OSError:
            return None
        if not part:
            return None
        head += part
    return bytes(head) if len(head) <= REQUEST_BYTES else None
