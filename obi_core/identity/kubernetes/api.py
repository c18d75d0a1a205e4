"""Requests to the API server over http.client: a document, or a stream of lines. No state but addresses and paths.

Token and certificates are read anew for each connection, so a rotated one takes effect at the next.
"""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from obi_core.settings import KubernetesSettings

MOST_BYTES: Final = 32 << 20
"""Of one document; a page of 50 pods has less than one MiB."""
MOST_LINE_BYTES: Final = 4 << 20
"""Of one line of a stream: etcd keeps no object above 1.5 MiB."""
_REFUSALS: Final[Mapping[int, str]] = {401: "unauthorized", 403: "forbidden", 404: "not_found", 410: "gone", 429: "throttled"}
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""A server that has vanished without a word is noticed after a minute."""
_PARTIAL: Final = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"


class ApiError(Exception):
    """The API server did not answer as it should.

    Args:
        reason: One of a fixed set of words, such as `unreachable` or `forbidden`.
        detail: One sentence with the next step.
        retry_after_s: What the server asks for, s.
    """

    def __init__(self, reason: str, detail: str, retry_after_s: float = 0.0) -> None:
        super().__init__(detail)
        self.reason, self.retry_after_s = reason, retry_after_s


class Stream:
    """Lines of an answer that has no end; closing it from another thread ends it."""

    def __init__(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
        self._connection, self._answer = connection, answer

    def lines(self) -> Iterator[bytes]:
        """Whole lines as they come. A last one without its end is not given: its sender did not get to it.

        Raises:
            ApiError: The connection broke, or a line is longer than any object can be.
        """
        try:
            while line := self._answer.readline(MOST_LINE_BYTES):
                if line.endswith(b"\n"):
                    yield line
                elif len(line) >= MOST_LINE_BYTES:
                    raise ApiError("too_large", "a line of the watch is longer than 4 MiB; the watch begins anew")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ApiError("unreachable", f"the watch broke: {_said(error)}") from error

    def close(self) -> None:
        """End the stream, whoever waits for it."""
        sock = self._connection.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class Api:
    """The API server.

    Args:
        url: `https://HOST:PORT`, or `http://…` (a proxy on this host).
        settings: Token, certificates, time.
    """

    def __init__(self, url: str, settings: KubernetesSettings) -> None:
        self._url, self._settings = urlsplit(url), settings

    @classmethod
    def found(cls, settings: KubernetesSettings, environ: Mapping[str, str]) -> "Api | None":
        """Where the settings or the pod's environment say; None: there is no cluster here, or nobody wants to know."""
        host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
        url = settings.api or (f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}" if host else "")
        return cls(url, settings) if url and settings.enabled != "off" else None

    def get(self, path: str, *, partial: bool = False, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Fetch one document; `partial`: its metadata alone.

        Raises:
            ApiError: There is none.
        """
        with self._answered(path, query or {}, _PARTIAL if partial else "application/json", self._settings.timeout_s) as (
            _,
            answer,
        ):
            try:
                text = answer.read(MOST_BYTES + 1)
            except (OSError, http.client.HTTPException) as error:
                raise ApiError("unreachable", f"{path}: the answer broke off: {_said(error)}") from error
        if len(text) > MOST_BYTES:
            raise ApiError("too_large", f"{path}: the answer is longer than 32 MiB")
        return document(text, path)

    @contextmanager
    def stream(self, path: str, idle_s: float, query: Mapping[str, str]) -> Iterator[Stream]:
        """Open a watch that may be silent for `idle_s` seconds.

        Raises:
            ApiError: The server refuses it.
        """
        with self._answered(path, query, "application/json", idle_s) as (connection, answer):
            yield Stream(connection, answer)

    @contextmanager
    def _answered(
        self, path: str, query: Mapping[str, str], accept: str, idle_s: float
    ) -> Iterator[tuple[http.client.HTTPConnection, http.client.HTTPResponse]]:
        connection = self._connection()
        try:
            try:
                connection.connect()
                for option, value in _KEEPALIVE:
                    connection.sock.setsockopt(socket.IPPROTO_TCP, option, value)
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                text = urlencode(query, quote_via=quote)
                connection.request("GET", f"{path}?{text}" if text else path, headers={"Accept": accept, **self._token()})
                answer = connection.getresponse()
                connection.sock.settimeout(idle_s) if connection.sock else None
            except ssl.SSLError as error:
                raise ApiError(
                    "tls", f"{self._where}: {_said(error)}; kubernetes.ca_file must hold the cluster's CA"
                ) from error
            except (OSError, http.client.HTTPException) as error:
                raise ApiError("unreachable", f"{self._where}: {_said(error)}") from error
            if answer.status != http.client.OK:
                raise self._refused(path, answer)
            yield connection, answer
        finally:
            connection.close()

    @property
    def _where(self) -> str:
        return f"{self._url.scheme}://{self._url.netloc}"

    def _connection(self) -> http.client.HTTPConnection:
        host, timeout_s = self._url.hostname or "", self._settings.timeout_s
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, self._url.port, timeout=timeout_s)
        ca = Path(self._settings.ca_file)
        try:
            context = ssl.create_default_context(cafile=str(ca) if ca.exists() else None)
        except (OSError, ssl.SSLError) as error:
            raise ApiError("tls", f"kubernetes.ca_file {ca} cannot be used: {_said(error)}") from error
        return http.client.HTTPSConnection(host, self._url.port, timeout=timeout_s, context=context)

    def _token(self) -> dict[str, str]:
        try:
            token = Path(self._settings.token_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return {}
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _refused(self, path: str, answer: http.client.HTTPResponse) -> ApiError:
        reason = _REFUSALS.get(answer.status, "server_error")
        remedy = {
            "unauthorized": f"; {self._settings.token_file} must hold a token that the cluster accepts",
            "forbidden": "; the service account needs get, list and watch on it (deploy/k8s/rbac.yaml)",
        }.get(reason, "")
        after = answer.headers.get("Retry-After", "")
        detail = f"{self._where}{path}: HTTP status {answer.status}{remedy}"
        return ApiError(reason, detail, float(after) if after.isdecimal() else 0.0)


def document(text: bytes, where: str) -> dict[str, Any]:
    """Read one JSON document.

    Raises:
        ApiError: It is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError("malformed", f"{where}: not a JSON document: {text[:40]!r}") from error
    if not isinstance(found, dict):
        raise ApiError("malformed", f"{where}: not a JSON object: {text[:40]!r}")
    return found


def _said(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be verified: {error.verify_message}"
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
