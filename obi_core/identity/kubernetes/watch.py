"""List, then watch, for ever: one resource of the API followed by one thread, however the server behaves.

The last resource version that was seen whole decides where the next watch begins, so a stream that breaks, even in the middle
of a line, costs nothing. A version that the server has forgotten (410) means a new list. Whatever fails is retried with a
growing pause, and with jitter, so that the nodes of a cluster do not come back at once.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from obi_core.identity.kubernetes.api import Api, ApiError, Stream, document

_PAGE: Final = 50
"""Objects of one page of a list: what bounds the memory of a list."""
_WATCH_S: Final = (240, 480)
"""How long the server is asked to keep a watch, s; each time another number between these."""
_SLACK_S: Final = 30.0
_PAUSES_S: Final = (1.0, 60.0)
"""First and longest pause after a failure."""
_FORBIDDEN_S: Final = 60.0
STALE_S: Final = 90.0

_log: Final = logging.getLogger("obi.kubernetes")


class Listener(Protocol):
    """Who is told of objects; on the watch's thread."""

    def put(self, found: dict[str, Any]) -> str:
        """Take the newest state of an object; gives its uid, empty if it is none."""

    def end(self, found: dict[str, Any]) -> None:
        """An object is gone."""

    def only(self, uids: set[str]) -> None:
        """There are these objects and no others."""


@dataclass(slots=True)
class Contact:
    """How a watch is doing; written by its thread alone."""

    synced: bool = False
    """Whether a whole list was ever read."""
    connected: bool = False
    last_s: float = field(default_factory=time.time)
    """Last word from the server, realtime clock, s; the start before there is one."""
    events: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    """By reason."""
    resyncs: int = 0
    problem: str = ""
    """What keeps it from working now; empty: nothing."""

    def stale(self, now_s: float) -> bool:
        """Whether what is known may be wrong by now: the watch does not run, and was not heard of for a while."""
        return not self.connected and now_s - self.last_s > STALE_S


class Watch:
    """Follows one resource.

    Args:
        api: The API server.
        resource: For people: `pods`.
        path: `/api/v1/pods`.
        listener: Who is told.
        selector: Field selector; empty: everything.
        wait: Pauses; gives whether to stop instead.
    """

    def __init__(
        self,
        api: Api,
        resource: str,
        path: str,
        listener: Listener,
        *,
        selector: str = "",
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        self.resource = resource
        self._api, self._path, self._listener, self._wait = api, path, listener, wait
        self._selector = {"fieldSelector": selector} if selector else {}
        self._version = ""
        self._stop = threading.Event()
        self._stream: Stream | None = None
        self._thread: threading.Thread | None = None
        self._pause_s = 0.0
        self.contact = Contact()

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread = threading.Thread(target=self._run, name=f"obi-k8s-{self.resource}", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End it; waits at most so long."""
        self._stop.set()
        stream = self._stream
        if stream is not None:
            stream.close()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            events = self.contact.events
            try:
                if not self._version:
                    self._list()
                self._follow()
                # A server may end a watch when it likes; one that does so at once is left alone for longer.
                quick = time.monotonic() - began < 1.0 and events == self.contact.events
                pause = self._longer() if quick else random.uniform(0.0, 0.5)  # noqa: S311 - jitter, not a secret
            except ApiError as error:
                pause = self._failed(error)
            except Exception as error:  # noqa: BLE001 - see below
                # An isolation border: an object that cannot be understood must not end the watch for good.
                _log.exception("kubernetes: the watch of %s raised; it begins anew", self.resource)
                self._version = ""
                pause = self._failed(ApiError("malformed", f"{type(error).__name__}: {error}"))
            if self._wait(self._stop, pause):
                return

    def _list(self) -> None:
        """Read all objects, page by page."""
        uids: set[str] = set()
        version, onward = "", ""
        while True:
            more = {"continue": onward} if onward else {}
            page = self._api.get(self._path, query={"limit": str(_PAGE), **self._selector, **more})
            self._heard()
            items, metadata = page.get("items"), page.get("metadata")
            if not isinstance(metadata, dict) or not isinstance(items, list | None):
                raise ApiError("malformed", f"{self._path}: the list has no items or no metadata")
            for item in items or ():
                if isinstance(item, dict):
                    uids.add(self._listener.put(item))
            version, onward = str(metadata.get("resourceVersion") or ""), str(metadata.get("continue") or "")
            if not onward or self._stop.is_set():
                break
        if self._stop.is_set():
            return
        self._listener.only(uids)
        self._version = version or "0"
        if not self.contact.synced:
            _log.info("kubernetes: %d %s listed", len(uids), self.resource)
        self.contact.synced = True
        self.contact.resyncs += 1

    def _follow(self) -> None:
        """Take events until the stream ends."""
        timeout = random.randint(*_WATCH_S)  # noqa: S311 - jitter, not a secret
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(timeout),
            **self._selector,
        }
        with self._api.stream(self._path, timeout + _SLACK_S, query) as stream:
            self._stream = stream
            self._heard()
            self.contact.connected = True
            try:
                for line in stream.lines():
                    if self._stop.is_set():
                        return
                    self._take(document(line, f"{self._path} (watch)"))
                    self._heard()
                    self._pause_s = 0.0
            except ApiError:
                if not self._stop.is_set():
                    raise
            finally:
                self._stream = None
                self.contact.connected = False

    def _take(self, event: dict[str, Any]) -> None:
        kind, found = event.get("type"), event.get("object")
        if not isinstance(found, dict):
            raise ApiError("malformed", f"{self._path} (watch): an event without an object")
        if kind == "ERROR":
            code = found.get("code")
            reason = "gone" if code == 410 else "server_error"  # noqa: PLR2004 - HTTP's Gone
            raise ApiError(reason, f"{self._path} (watch): {found.get('message') or code}")
        if kind in {"ADDED", "MODIFIED"}:
            self._listener.put(found)
        elif kind == "DELETED":
            # its last state may name containers that no event before did
            self._listener.put(found)
            self._listener.end(found)
        metadata = found.get("metadata")
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if isinstance(version, str) and version:
            self._version = version
        self.contact.events += 1

    def _heard(self) -> None:
        self.contact.last_s = time.time()
        if self.contact.problem:
            _log.info("kubernetes: %s are followed again", self.resource)
            self.contact.problem = ""

    def _failed(self, error: ApiError) -> float:
        """Count and say it, once per kind of trouble; how long to pause, s."""
        failures = self.contact.failures
        failures[error.reason] = failures.get(error.reason, 0) + 1
        if error.reason in {"gone", "malformed", "too_large"}:
            # what the server would only send again
            self._version = ""
        if error.reason == "gone":
            _log.debug("kubernetes: %s: %s; listing anew", self.resource, error)
            return self._longer() if failures["gone"] > 1 else random.uniform(0.0, 1.0)  # noqa: S311 - jitter
        if not self.contact.problem:
            _log.warning("kubernetes: %s: %s; what is known stays in use", self.resource, error)
        else:
            _log.debug("kubernetes: %s: %s", self.resource, error)
        self.contact.problem = f"{error.reason}: {error}"
        pause = self._longer()
        if error.reason in {"forbidden", "not_found", "unauthorized"}:
            pause = max(pause, _FORBIDDEN_S / 2 + random.uniform(0.0, _FORBIDDEN_S / 2))  # noqa: S311 - jitter
        return max(pause, error.retry_after_s)

    def _longer(self) -> float:
        first, longest = _PAUSES_S
        self._pause_s = min(longest, max(first, self._pause_s * 2))
        return self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
