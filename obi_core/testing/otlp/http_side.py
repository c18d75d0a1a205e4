"""The receiver's HTTP half."""

import gzip
import socket
import ssl
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

from obi_core.testing.otlp.behaviour import Behaviour, Received
from obi_core.testing.otlp.certificates import Certificates
from obi_core.testing.otlp.messages import partial, request_of

if TYPE_CHECKING:
    from obi_core.testing.otlp.receiver import OtlpReceiver

_OK = 200


class HttpSide:
    """Listens on one port, which stays the same over `down` and `up`."""

    def __init__(self, receiver: "OtlpReceiver", tls: Certificates | None, *, ask_client: bool) -> None:
        self._receiver, self._context = receiver, _context(tls, ask_client=ask_client)
        self._server: _Server | None = None
        self.port = 0

    def up(self) -> None:
        """Listen."""
        side, receiver = self, self._receiver

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                side._post(self, receiver)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
                """Say nothing."""

        self._server = _Server(("127.0.0.1", self.port), Handler, self._context)
        self.port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def down(self) -> None:
        """Refuse connections, and close those that are open."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.close_open()
            self._thread.join(5)

    def _post(self, handler: BaseHTTPRequestHandler, receiver: "OtlpReceiver") -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        signal = receiver.paths.get(handler.path)
        if signal is None:
            self._answer(handler, Behaviour(status=404), b"404 page not found\n")
            return
        if handler.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        received = Received("http", signal, handler.path, headers, request_of(signal, body), _serial(handler.connection))
        behaviour = receiver.judge(received)
        if behaviour.hang_up:
            handler.close_connection = True
            return
        ok = behaviour.status == _OK
        self._answer(handler, behaviour, partial(signal, behaviour).SerializeToString() if ok else behaviour.body.encode())

    @staticmethod
    def _answer(handler: BaseHTTPRequestHandler, behaviour: Behaviour, body: bytes) -> None:
        kind = "application/x-protobuf" if behaviour.status == _OK else "text/plain"
        headers = (("Content-Type", kind), ("Content-Length", str(len(body))), *behaviour.headers)
        lines = [f"HTTP/1.1 {behaviour.status} Status", *(f"{name}: {value}" for name, value in headers), "", ""]
        answer = "\r\n".join(lines).encode() + body
        if behaviour.cut:
            # in the middle of the body, or of the status line where there is none
            handler.wfile.write(answer[: len(answer) - len(body) + len(body) // 2] if body else answer[:6])
            handler.close_connection = True
        elif behaviour.drip_s:
            with suppress(OSError):
                for at in range(len(answer)):
                    handler.wfile.write(answer[at : at + 1])
                    time.sleep(behaviour.drip_s)
        else:
            handler.wfile.write(answer)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None
    ) -> None:
        self._context = context
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        if self._context is not None:
            try:
                connection.getpeername()  # ssl leaves a socket open whose client is gone already
            except OSError:
                connection.close()
                raise
            # the handshake waits for the connection's own thread
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        super().shutdown_request(request)
        self._open.discard(request)

    def close_open(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: who hangs up, or shows no certificate, is the test's affair."""


def _context(tls: Certificates | None, *, ask_client: bool) -> ssl.SSLContext | None:
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.server, tls.server_key)
    if ask_client:
        context.load_verify_locations(tls.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _serial(connection: socket.socket) -> str:
    shown = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    return str(shown.get("serialNumber", "")) if shown else ""
