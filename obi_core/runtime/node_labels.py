"""The labels of this node, which choose its pool: kept while the API is away, asked for again where it never answered."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from obi_core.identity.kubernetes import ApiError
from obi_core.identity.kubernetes.cluster import node_labels
from obi_core.settings import KubernetesSettings

_AGAIN_S: Final = 30.0

_log: Final = logging.getLogger("obi.config")


class NodeLabels:
    """Reads them; called wherever the configuration is read.

    Args:
        environ: Where Kubernetes says where its API is.
        clock: s, monotonic.
    """

    def __init__(self, environ: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._environ, self._clock = environ, clock
        self._known: Mapping[str, str] | None = None
        self._missed: KubernetesSettings | None = None
        self._asked_s = float("-inf")
        self._asking: threading.Thread | None = None
        self._came = threading.Event()

    def __call__(self, settings: KubernetesSettings) -> Mapping[str, str]:
        """Read them now; without an answer what was read last, at first none, which is said."""
        try:
            self._known = node_labels(settings, self._environ)
            self._missed = None
        except ApiError as error:
            self._asked_s = self._clock()
            if self._known is not None:
                _log.warning("kubernetes: this node's labels cannot be read, so its pool stays as it is: %s", error)
                return self._known
            self._missed = settings
            _log.warning("kubernetes: this node's labels cannot be read, so no pool is chosen by them for now: %s", error)
        return self._known or {}

    def came(self) -> bool:
        """Whether labels that could not be read have become readable: then the configuration is to be read again.

        Asks every half a minute, on a thread of its own; returns at once.
        """
        if self._missed is None:
            return False
        if self._came.is_set():
            self._came.clear()
            return True
        now = self._clock()
        if now - self._asked_s >= _AGAIN_S and (self._asking is None or not self._asking.is_alive()):
            self._asked_s = now
            self._asking = threading.Thread(target=self._ask, args=(self._missed,), name="obi-node-labels", daemon=True)
            self._asking.start()
        return False

    def _ask(self, settings: KubernetesSettings) -> None:
        try:
            node_labels(settings, self._environ)
        except ApiError as error:
            _log.debug("kubernetes: this node's labels: %s", error)
        else:
            self._came.set()
