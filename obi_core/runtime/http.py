"""A small HTTP server for health answers: bounded in request size, time and connections; JSON, and one page for people."""

import errno
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import ThreadingHTTPServer
from typing import Final, cast

from obi_core.errors import HostError
from obi_core.host import Host
from obi_core.runtime.page import HEADERS, known
from obi_core.settings import Listen
from obi_core.sinks.bounded import Bounded, WholeHead

_POLL_S: Final = 3600.0

Route = Callable[[], tuple[int, Mapping[str, object]]]
"""Gives HTTP status and document."""
Page = Callable[[str], str]
"""Gives the page at `/`, for one Host header."""


class HealthServer:
    """Answers GET and HEAD on fixed paths.

    Args:
        listen: Where; port 0 lets the kernel choose.
        routes: By path.
        host: Says who holds a port that is taken.
        page: At `/`; None: there is none.
        hosts: Names under which the page may be asked for; see `page.known`.
    """

    def __init__(
        self,
        listen: Listen,
        routes: Mapping[str, Route],
        host: Host,
        page: Page | None = None,
        hosts: Iterable[str] = (),
    ) -> None:
        self._listen, self._routes, self._host = listen, routes, host
        self._page, self._hosts = page, tuple(hosts)
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
            self._server = _Server(self._listen, self._routes, self._page, self._hosts)
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


class _Server(Bounded, ThreadingHTTPServer):
    def __init__(self, listen: Listen, routes: Mapping[str, Route], page: Page | None, hosts: tuple[str, ...]) -> None:
        self.address_family = socket.AF_INET6 if listen.ipv6 else socket.AF_INET
        self.routes, self.page, self.hosts = routes, page, hosts
        self.bound()
        super().__init__((listen.host, listen.port), _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks DNS for our name, and a node's resolver may hang.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class _Handler(WholeHead):
    def do_GET(self) -> None:  # noqa: N802 - the standard library calls it so
        """Answer with the document of the path."""
        path = self.path.partition("?")[0]
        server = cast("_Server", self.server)
        route = server.routes.get(path)
        if path == "/" and server.page is not None:
            self._show(server.page, server.hosts)
        elif route is None:
            paths = [*server.routes, "/"] if server.page is not None else [*server.routes]
            self._write(404, {"error": f"no such path: {path}", "paths": sorted(paths)})
        else:
            self._write(*route())

    do_HEAD = do_GET  # noqa: N815 - the name is the base class's

    def _show(self, page: Page, hosts: tuple[str, ...]) -> None:
        header = self.headers.get("Host", "")
        if known(header, hosts):
            self.answer(200, "text/html; charset=utf-8", page(header).encode(errors="replace"), HEADERS)
        else:
            # Somebody's page in a browser may have its own name point at this address, and read what we answer.
            self.refuse(
                403, f"this page is not shown under the name {header[:100]!r}; ask by address, or add it to http.hosts"
            )

    def refuse(self, code: int, sentence: str) -> None:
        """Refuse in JSON, as everything here is."""
        self._write(code, {"error": sentence})

    def _write(self, status: int, document: Mapping[str, object]) -> None:
        self.answer(status, "application/json", json.dumps(document).encode() + b"\n")
