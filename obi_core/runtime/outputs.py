"""All sinks of one agent: made, started, flushed within a deadline, stopped; a stranger's failure costs only its own sink."""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from obi_core.bus import own_metric
from obi_core.errors import ObiError
from obi_core.model import Kind, Metric
from obi_core.runtime.registry import ISOLATED
from obi_core.settings import CoreSettings
from obi_core.sink import Sink, Source

_LAST_FLUSH_S: Final = 1.0
"""Time of a sink that is made anew to hand out what it holds."""

_log: Final = logging.getLogger("obi.sinks")


class Outputs:
    """The sinks that the settings ask for."""

    def __init__(self, sinks: Iterable[type[Sink]], settings: CoreSettings, resource: Mapping[str, str]) -> None:
        self._classes = tuple(sinks)
        self._settings, self._resource = settings, resource
        self._made: list[Sink] = []
        self._started: list[Sink] = []
        self._source: Source | None = None
        for each in self._classes:
            self._make(each)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sinks that run."""
        return tuple(sink.name for sink in self._started if sink.name)

    def own(self) -> Sequence[Metric]:
        """Where this agent is, and what the sinks say of themselves."""
        said = [node_info(self._resource)]
        for sink in tuple(self._made):
            try:
                said += sink.own()
            except ISOLATED:  # a stranger's code
                _log.exception("sink %s cannot say how it is doing; its own metrics are missing", sink.name)
        return said

    def follow(self, sinks: Iterable[type[Sink]], settings: CoreSettings, resource: Mapping[str, str]) -> bool:
        """Run these sinks with these settings: those whose sections have not changed go on untouched.

        Returns:
            Whether anything was made anew or ended.

        Raises:
            ConfigError, HostError: One cannot work so; all are as before.
        """
        before = (self._classes, self._settings, self._resource)
        try:
            return self._switch(tuple(sinks), settings, resource)
        except ObiError:
            self._switch(*before)
            raise

    def _switch(self, classes: tuple[type[Sink], ...], settings: CoreSettings, resource: Mapping[str, str]) -> bool:
        changed = {name for name in CoreSettings.model_fields if getattr(settings, name) != getattr(self._settings, name)}

        def stays(sink: type[Sink]) -> bool:
            same = not changed if sink.sections is None else changed.isdisjoint(sink.sections)
            return (
                sink in self._classes
                and same
                and (resource == self._resource or "resource" not in (sink.sections or ("resource",)))
            )

        anew = [sink for sink in classes if not stays(sink)]
        ending = [sink for sink in self._made if type(sink) in anew or type(sink) not in classes]
        self._classes, self._settings, self._resource = classes, settings, resource
        for sink in ending:
            self._end(sink)
        for each in anew:
            made = self._make(each)
            if made is not None and self._source is not None:
                self._begin(made, self._source)
        return bool(ending or anew)

    def _make(self, made: type[Sink]) -> Sink | None:
        try:
            sink = made.create(self._settings, self._resource)
        except ObiError:
            raise
        except ISOLATED:  # a stranger's code
            _log.exception("sink %s cannot be made; the agent goes on without it", made.__name__)
            return None
        if sink is not None:
            self._made.append(sink)
        return sink

    def _begin(self, sink: Sink, source: Source) -> None:
        try:
            sink.start(source)
        except ObiError:
            raise
        except ISOLATED:  # a stranger's code
            _log.exception("sink %s did not start; the agent goes on without it", sink.name)
        else:
            self._started.append(sink)

    def _end(self, sink: Sink) -> None:
        """Let one sink hand out what it holds, and close it."""
        self._made.remove(sink)
        if sink in self._started:
            self._started.remove(sink)
            self._isolated(sink, _LAST_FLUSH_S)
            try:
                sink.stop()
            except ISOLATED:  # a stranger's code
                _log.exception("sink %s did not stop cleanly", sink.name)

    def start(self, source: Source) -> None:
        """Start all.

        Raises:
            HostError: A sink cannot work here; those started before it are still to be stopped.
        """
        self._source = source
        for sink in self._made:
            self._begin(sink, source)

    def flush(self, deadline_s: float) -> None:
        """Let all sinks hand out what is there, side by side, so that a slow one does not eat the others' time."""
        until = time.monotonic() + deadline_s
        threads = [
            threading.Thread(target=self._isolated, args=(sink, deadline_s), name=f"obi-flush-{sink.name}", daemon=True)
            for sink in self._started
        ]
        for thread in threads:
            thread.start()
        for sink, thread in zip(self._started, threads, strict=True):
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                _log.warning("sink %s did not flush within %g s; what it holds is lost", sink.name, deadline_s)

    def stop(self) -> None:
        """Stop all, last first. Idempotent."""
        while self._started:
            sink = self._started.pop()
            try:
                sink.stop()
            except ISOLATED:  # a stranger's code
                _log.exception("sink %s did not stop cleanly", sink.name)

    @staticmethod
    def _isolated(sink: Sink, deadline_s: float) -> None:
        try:
            sink.flush(deadline_s)
        except ISOLATED:  # a stranger's code
            _log.exception("sink %s did not flush", sink.name)


def node_info(resource: Mapping[str, str]) -> Metric:
    """Say where the agent is, for stores in which a resource's attributes are no labels.

    Every other series of the agent joins this one, by the labels that tell agents apart. Without Kubernetes the node is called
    as the host is.
    """
    host = resource.get("host.name", "")
    where = {
        "host.name": host,
        "k8s.cluster.name": resource.get("k8s.cluster.name", ""),
        "k8s.node.name": resource.get("k8s.node.name", host),
    }
    return own_metric("obi_node_info", Kind.GAUGE, "Always 1; where this agent is.", [(where, 1)])
