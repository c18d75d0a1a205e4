"""A small HTTP server for health answers: bounded in request size, time and connections; JSON only."""

import errno
import json
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Final, cast

from obi_core.errors import HostError
from obi_core.host import Host
from obi_core.settings import Listen

REQUEST_BYTES: Final = 8192
REQUEST_S: Final = 5.0
CONNECTIONS: Final = 32
_POLL_S: Final = 3600.0

_log: Final = logging.getLogger("obi.http")

Route = Callable[[], tuple[int, Mapping[str, object]]]
"""Gives HTTP status and document."""


class HealthServer:
    """Answers GET and HEAD on fixed paths.

    Args:
        listen: Where; port 0 lets the kernel choose.
        routes: By path.
        host: Says who holds a port that is taken.
    """

    def __init__(self, listen: Listen, routes: Mapping[str, Route], host: Host) -> None:
        self._listen, self._routes, self._host = listen, routes, host
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port it listens on; 0 before `start`."""
        return self._server.server_port if self._server else 0

    def start(self) -> None:
        """Bind and serve.

        Raises:
            HostError: The address cannot be had.
        """
        try:
            self._server = _Server(self._listen, self._routes)
        except OSError as err:
            raise HostError(self._sentence(err)) from err
        threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), name="obi-http", daemon=True).start()

    def stop(self) -> None:
        """Close the port. Idempotent."""
        server, self._server = self._server, None
        if server:
            # Wakes the thread that waits for connections, which therefore need not look up by itself.
            server.socket.shutdown(socket.SHUT_RDWR)
            server.shutdown()
            server.server_close()

    def _sentence(self, err: OSError) -> str:
        cause = err.strerror or str(err)
        if err.errno == errno.EADDRINUSE:
            holder = self._host.port_holder(self._listen.port)
            cause = f"taken by {holder}" if holder else "taken"
        return f"health address {self._listen}: {cause}; choose another with --http-listen or OBI_HTTP__LISTEN"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 2 * CONNECTIONS

    def __init__(self, listen: Listen, routes: Mapping[str, Route]) -> None:
        self.address_family = socket.AF_INET6 if listen.ipv6 else socket.AF_INET
        self.routes = routes
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__((listen.host, listen.port), _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks DNS for our name, and a node's resolver may hang.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, _request: object, client_address: object) -> None:
        _log.debug("request from %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server_version = "obi"
    sys_version = ""

    def setup(self) -> None:
        """Read the request's head at once, so that neither its size nor its slowness can hold a thread."""
        self.complete = True
        super().setup()
        self.rfile.close()
        self.rfile = BytesIO(self._head())

    def _head(self) -> bytes:
        until = time.monotonic() + REQUEST_S
        head = b""
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            left = until - time.monotonic()
            if left <= 0 or len(head) > REQUEST_BYTES:
                self.complete = False
                break
            self.connection.settimeout(left)
            try:
                part = self.connection.recv(4096)
            except OSError:
                part = b""
            if not part:
                self.complete = False
                break
            head += part
        self.connection.settimeout(REQUEST_S)
        return head

    def do_GET(self) -> None:
        """Answer with the document of the path."""
        if not self.complete:
            status, document = 431, cast("Mapping[str, object]", {"error": f"a request has at most {REQUEST_BYTES} bytes"})
        else:
            status, document = self._answer(self.path.partition("?")[0])
        body = json.dumps(document).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name is the base class's

    def _answer(self, path: str) -> tuple[int, Mapping[str, object]]:
        routes = cast("_Server", self.server).routes
        route = routes.get(path)
        if route is None:
            return 404, {"error": f"no such path: {path}", "paths": sorted(routes)}
        return route()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Log requests at DEBUG: probes ask every few seconds."""
        _log.debug(format, *args)
