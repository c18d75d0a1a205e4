"""An API server for tests: lists in pages, watches with bookmarks, and misbehaves when told to."""

import json
import queue
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

END = object()
"""Put into a watch's queue: the stream ends here, in good order."""


def pod(uid: str, name: str = "", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Make a pod of node `n1` as the API gives it.

    Args:
        uid: Its uid.
        name: Its name; the uid if empty.
        more: `namespace`, `labels`, `annotations`, `owner` (kind, name), `containers` (name → container id), `ip`, `node`,
            `created`.
    """
    owner = more.get("owner")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "uid": uid,
            "name": name or uid,
            "namespace": more.get("namespace", "shop"),
            "labels": more.get("labels", {}),
            "annotations": more.get("annotations", {}),
            "creationTimestamp": more.get("created", "2026-01-01T00:00:00Z"),
            "ownerReferences": [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else [],
        },
        "spec": {"nodeName": more.get("node", "n1")},
        "status": {
            "podIPs": [{"ip": more["ip"]}] if "ip" in more else [],
            "containerStatuses": [
                {"name": each, "image": f"registry/{each}:1", "containerID": f"containerd://{number}"}
                for each, number in more.get("containers", {}).items()
            ],
        },
    }


class KubeApi:
    """The server. Objects are pods, unless put under another path.

    `faults` holds, per kind of request (`list`, `watch`, `get`), what the next ones of it get instead of an answer: an HTTP
    status as a number, `garbage`, `half` (half a document, then the end), `hang_up`.
    """

    def __init__(self, *, context: ssl.SSLContext | None = None, ipv6: bool = False) -> None:
        self.objects: dict[str, dict[str, dict[str, Any]]] = {}
        self.faults: dict[str, list[object]] = {"list": [], "watch": [], "get": []}
        self.requests: list[tuple[str, str, dict[str, str], str]] = []
        """(kind, path, query, token), in order."""
        self.retry_after = ""
        self.version = 100
        self._streams: list[queue.SimpleQueue[Any]] = []
        self._changed = threading.Condition()
        self._server = _server(self, context, ipv6=ipv6)
        scheme = "https" if context else "http"
        host = "[::1]" if ipv6 else "127.0.0.1" if context is None else "localhost"
        self.url = f"{scheme}://{host}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def put(self, found: dict[str, Any], path: str = "/api/v1/pods") -> None:
        """Create or change an object; whoever watches is told."""
        uid = found["metadata"]["uid"]
        with self._changed:
            self.version += 1
            found["metadata"]["resourceVersion"] = str(self.version)
            kind = "MODIFIED" if uid in self.objects.setdefault(path, {}) else "ADDED"
            self.objects[path][uid] = found
        self.send(json.dumps({"type": kind, "object": found}).encode() + b"\n")

    def delete(self, uid: str, path: str = "/api/v1/pods") -> None:
        """Delete an object."""
        with self._changed:
            self.version += 1
            found = self.objects[path].pop(uid)
            found["metadata"]["resourceVersion"] = str(self.version)
        self.send(json.dumps({"type": "DELETED", "object": found}).encode() + b"\n")

    def bookmark(self, version: int) -> None:
        """Tell how far the watch is."""
        self.version = version
        found = {"kind": "Pod", "metadata": {"resourceVersion": str(version)}}
        self.send(json.dumps({"type": "BOOKMARK", "object": found}).encode() + b"\n")

    def send(self, piece: object) -> None:
        """Send bytes as they are to whoever watches; `END` ends the streams."""
        with self._changed:
            for stream in self._streams:
                stream.put(piece)

    def asked(self, kind: str, number: int = 1, timeout_s: float = 10.0) -> list[dict[str, str]]:
        """Wait for so many requests of a kind; their queries."""

        def queries() -> list[dict[str, str]]:
            return [query for each, _, query, _ in self.requests if each == kind]

        with self._changed:
            if not self._changed.wait_for(lambda: len(queries()) >= number, timeout_s):
                raise TimeoutError(f"{len(queries())} of {number} requests of kind {kind} came")
        return queries()

    def watched(self, timeout_s: float = 10.0) -> None:
        """Wait until somebody watches."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._streams), timeout_s):
                raise TimeoutError("nobody watches")

    def close(self) -> None:
        """Vanish: no new connection, and those that are there end."""
        self.send(END)
        self._server.shutdown()
        self._server.server_close()

    def note(self, kind: str, path: str, query: dict[str, str], token: str) -> None:
        """Remember a request."""
        with self._changed:
            self.requests.append((kind, path, query, token))
            self._changed.notify_all()

    @contextmanager
    def stream(self) -> Iterator["queue.SimpleQueue[Any]"]:
        """Give a watcher its queue."""
        pieces: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._changed:
            self._streams.append(pieces)
            self._changed.notify_all()
        try:
            yield pieces
        finally:
            with self._changed:
                self._streams.remove(pieces)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    api: KubeApi

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what tests are about."""


def _server(api: KubeApi, context: ssl.SSLContext | None, *, ipv6: bool) -> _Server:
    class Server(_Server):
        address_family = AF_INET6 if ipv6 else _Server.address_family

        def get_request(self) -> tuple[Any, Any]:
            connection, address = super().get_request()
            if context is None:
                return connection, address
            try:
                connection.getpeername()  # ssl leaves a socket open whose client is gone already
            except OSError:
                connection.close()
                raise
            return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    server = Server(("::1" if ipv6 else "127.0.0.1", 0), _Handler)
    server.api = api
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def api(self) -> KubeApi:
        return cast("_Server", self.server).api

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        kind = "watch" if query.get("watch") else "list" if split.path.count("/") == 3 else "get"  # noqa: PLR2004 - /api/v1/pods
        self.close_connection = True
        self.api.note(kind, split.path, query, self.headers.get("Authorization", ""))
        faults = self.api.faults[kind]
        fault = faults.pop(0) if faults else None
        if fault == "hang_up":
            return
        if isinstance(fault, int):
            self._answer(fault, b'{"kind":"Status"}')
        elif kind == "watch":
            self._watch()
        else:
            text = self._document(kind, split.path, query)
            broken = {"garbage": b"<html>it works</html>", "half": text[: len(text) // 2]}
            self._answer(200, broken.get(cast("str", fault), text))

    def _document(self, kind: str, path: str, query: dict[str, str]) -> bytes:
        if kind == "get":
            return json.dumps(self.api.objects.get(path, {}).get("one", {})).encode()
        items = list(self.api.objects.get(path, {}).values())
        first, most = int(query.get("continue", 0)), int(query.get("limit", 0)) or len(items)
        metadata = {"resourceVersion": str(self.api.version)}
        if first + most < len(items):
            metadata["continue"] = str(first + most)
        return json.dumps({"metadata": metadata, "items": items[first : first + most]}).encode()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.api.retry_after:
            self.send_header("Retry-After", self.api.retry_after)
        self.end_headers()
        self.wfile.write(body)

    def _watch(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with self.api.stream() as pieces:
            while (piece := pieces.get()) is not END:
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def until(condition: Any, timeout_s: float = 10.0) -> Any:  # noqa: ANN401 - whatever it gives
    """Wait for a condition; what it gave."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.005)
    raise TimeoutError("never")
