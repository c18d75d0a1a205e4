"""The HTTP server of the Prometheus endpoint: prometheus-client's application behind bounds of our own."""

import errno
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import TCPServer
from threading import BoundedSemaphore, Thread
from typing import Final
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client.exposition import ThreadingWSGIServer

from obi_core.errors import HostError
from obi_core.settings import Listen

_THREADS: Final = 8
_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 3600.0
_NOT_FOUND: Final = b"There is nothing here; metrics are at /metrics.\n"


def only_metrics(app: WSGIApplication) -> WSGIApplication:
    """Serve `app` at /metrics and a sentence anywhere else."""

    def routed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == "/metrics":
            return app(environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [_NOT_FOUND]

    return routed


class _Handler(WSGIRequestHandler):
    timeout = _TIMEOUT_S  # A client that says nothing gives its thread back.

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing: a scrape is no event."""


class _Server(ThreadingWSGIServer):
    # Requests beyond the bound are closed at once instead of queueing up threads.
    _free: BoundedSemaphore

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks DNS for the host's full name and may wait seconds for the answer.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()
        self._free = BoundedSemaphore(_THREADS)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a scraper that hangs up is its own affair."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class Listener:
    """One listening socket and the threads behind it.

    Args:
        listen: Where to listen; port 0 lets the kernel choose.
        app: What to serve.
        holder: Says who holds a port, for the message when it is taken.

    Raises:
        HostError: Nobody can listen there.
    """

    def __init__(self, listen: Listen, app: WSGIApplication, holder: Callable[[int], str | None]) -> None:
        try:
            self._server = (_Server6 if listen.ipv6 else _Server)((listen.host, listen.port), _Handler)
        except OSError as error:
            move = "give another address with --metrics-listen HOST:PORT or OBI_METRICS__LISTEN"
            if error.errno == errno.EADDRINUSE:
                raise HostError(f"metrics: {listen} is taken by {holder(listen.port) or 'another process'}; {move}") from error
            raise HostError(f"metrics: cannot listen on {listen}: {error.strerror or error}; {move}") from error
        self._server.set_app(app)
        self.address = Listen(listen.host, self._server.server_port)
        """Where it listens."""
        self._thread = Thread(target=self._server.serve_forever, args=(_POLL_S,), name="obi-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the socket; answers under way are left to their threads."""
        # Wakes the thread that waits for connections, which therefore need not look up by itself.
        with suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1.0)
