"""The HTTP server of the Prometheus endpoint: prometheus-client's application behind bounds of our own."""

import errno
import gzip
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import TCPServer
from threading import Thread
from typing import IO, Final, cast
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client.exposition import ThreadingWSGIServer

from obi_core.errors import HostError
from obi_core.settings import Listen
from obi_core.sinks.bounded import REQUEST_BYTES, Bounded, WholeHead

_LEVEL: Final = 1
_WORTH_IT: Final = 1024
"""Bytes."""
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


def compressed(app: WSGIApplication) -> WSGIApplication:
    """Compress what `app` says for those who take gzip, at the level that costs least."""

    def squeezed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not _takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
            return app(environ, start_response)
        head: list[tuple[str, list[tuple[str, str]]]] = []

        def keep(status: str, headers: list[tuple[str, str]], _: object = None) -> Callable[[bytes], object]:
            head.append((status, headers))
            return lambda _: None

        body = b"".join(app(environ, keep))
        status, headers = head[-1]
        if len(body) >= _WORTH_IT:
            body = gzip.compress(body, _LEVEL)
            headers = [*(pair for pair in headers if pair[0].lower() != "content-length"), ("Content-Encoding", "gzip")]
        start_response(status, [*headers, ("Vary", "Accept-Encoding")])
        return [body]

    return squeezed


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.split(","):
        coding, _, quality = each.partition(";")
        if coding.strip().lower() in {"gzip", "*"}:
            return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


class _Handler(WholeHead, WSGIRequestHandler):
    def handle(self) -> None:
        """Answer GET and HEAD, or refuse; there is no body to read, whatever the request says."""
        if not self.complete:
            super().handle()
            return
        self.raw_requestline = self.rfile.readline(REQUEST_BYTES)
        if not self.parse_request():
            return
        if self.command not in ("GET", "HEAD"):
            self.refuse(405, "only GET and HEAD are answered")
            return
        environ = self.get_environ()
        environ["CONTENT_LENGTH"] = "0"
        given, taken = cast("IO[bytes]", self.rfile), cast("IO[bytes]", self.wfile)
        handler = ServerHandler(given, taken, self.get_stderr(), environ, multithread=True)
        handler.request_handler = self  # type: ignore[attr-defined]  # the standard library's own way
        application = self.server.get_app()  # type: ignore[attr-defined]  # every server here is a WSGIServer
        handler.run(application)


class _Server(Bounded, ThreadingWSGIServer):
    def server_bind(self) -> None:
        # Not HTTPServer's, which asks DNS for the host's full name and may wait seconds for the answer.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()
        self.bound()


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
