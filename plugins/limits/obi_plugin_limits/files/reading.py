"""One look at all of it: cgroups, node, programs, listening sockets. What cannot be read is left out, and said once."""

import logging
import resource
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from obi_core import Cgroups, HostError, Loss, Observation, Owner, Retired, Row, Yielded
from obi_plugin_limits.catalogue import CGROUP, CPU, OOM_KILLS, THROTTLED_PERIODS
from obi_plugin_limits.files import controllers, listeners
from obi_plugin_limits.files.controllers import Read
from obi_plugin_limits.files.descriptors import Holders
from obi_plugin_limits.files.figures import Count, Figure, Figures, Level, Source
from obi_plugin_limits.files.groups import Group, Groups
from obi_plugin_limits.files.kept import KeptFiles
from obi_plugin_limits.files.node import Node
from obi_plugin_limits.settings import LimitsSettings

_log = logging.getLogger(__name__)

_NODE: Final = Source("node", "this node")
_MOST_SAID: Final = 100


class Files:
    """Reads files at each collection, and holds them open between.

    Args:
        settings: What to read, and how much of it.
        cgroups: Where the hierarchies are; None: this machine's.
        count_kills: Whether OOM kills are to be had from here, because no program counts them.
        clock: s, monotonic.
    """

    def __init__(
        self,
        settings: LimitsSettings,
        cgroups: Cgroups | None = None,
        *,
        count_kills: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        cgroups = cgroups or Cgroups()
        proc = cgroups.host.proc
        self._settings, self._clock = settings, clock
        may_be_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._kept = KeptFiles(min(settings.open_files, may_be_open // 2), self._cannot_be_read)
        self._groups = Groups(cgroups, settings.max_cgroups)
        self._node = Node(self._kept.read, proc)
        self._holders = Holders(proc, settings.processes, settings.processes_per_collection)
        self._figures = Figures()
        self._known: dict[Hashable, Group] = {}
        self._extra: set[Hashable] = set()
        self._cpu: dict[Hashable, tuple[float, float]] = {}
        self._kills = _Kills(self._node) if count_kills and settings.oom else None
        self._said: set[str] = set()
        self._beyond = self._garbled = 0

    def __enter__(self) -> Self:
        """Take the first look: what there is now is where counters begin."""
        for _ in self.collect(show=False):
            pass
        self._figures.first_look_is_over()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._kept.close()

    def path_of(self, cgroup_id: int) -> str:
        """Path of a cgroup that was there at the last look, by its id; empty: it was not."""
        return next((group.path for group in self._known.values() if group.id == cgroup_id), "") if cgroup_id else ""

    def memory_bytes(self) -> int:
        """All memory of the node; 0: not known."""
        return next((int(level.limit or 0) for level in self._safely(self._node.memory()) if isinstance(level, Level)), 0)

    def collect(self, *, show: bool) -> Iterator[Yielded]:
        """Read everything once.

        Args:
            show: Whether somebody looks at the view `limits`.
        """
        if self._kills is not None:
            self._kills.look()
        groups: dict[Hashable, Group] = {("cgroup", group.path, group.id): group for group in self._groups.look()}
        self._beyond += self._groups.beyond
        for key in self._known.keys() - groups.keys():
            yield from self._ended(key)
        self._known = groups
        for key, group in groups.items():
            for given in self._figures.take(_source(key, group), self._of_group(key, group), show=show):
                if self._kills is not None and isinstance(given, Observation) and given.instrument is OOM_KILLS:
                    self._kills.add(key, int(given.value))  # type: ignore[arg-type]  # a counter's value is a number
                yield given
        yield from self._figures.take(_NODE, self._of_node(), show=show)
        yield from self._of_others(show=show)
        if self._kills is not None:
            yield Observation(OOM_KILLS, "elsewhere", self._kills.elsewhere())
        yield Loss("cgroups_beyond_limit", self._beyond)
        yield Loss("files_garbled", self._garbled, "decode")

    def _ended(self, key: Hashable) -> Iterator[Retired]:
        for directory in self._known[key].directories.values():
            self._kept.forget(directory)
        self._cpu.pop(key, None)
        if self._kills is not None:
            self._kills.end(key)
        yield from self._figures.end(key)

    def _of_group(self, key: Hashable, group: Group) -> Iterator[Figure]:
        def read(controller: str, name: str) -> str | None:
            directory = group.directories.get(controller)
            return None if directory is None else self._kept.read(f"{directory}/{name}")

        wanted = self._settings.resources
        if "cpu" in wanted:
            yield from self._safely(self._of_cpu(key, read))
        if "memory" in wanted:
            yield from self._safely(controllers.memory(read))
        if "processes" in wanted:
            yield from self._safely(controllers.processes(read))
        if "pressure" in wanted:
            yield from self._safely(controllers.pressure(read))
        if self._kills is not None:
            yield from self._safely(controllers.oom_kills(read))

    def _of_cpu(self, key: Hashable, read: Read) -> Iterator[Figure]:
        throttled = 0
        for count in controllers.cpu(read):
            yield count
            if isinstance(count, Count) and count.instrument is THROTTLED_PERIODS:
                throttled = int(count.value)
        quota = controllers.cpu_quota(read)
        used = controllers.cpu_seconds(read) if quota else None
        if quota is None or used is None:
            return
        now, before = self._clock(), self._cpu.get(key)
        self._cpu[key] = now, used
        if before is not None and now > before[0]:
            yield Level(CPU, (used - before[1]) / (now - before[0]), quota, throttled)

    def _of_node(self) -> Iterator[Figure]:
        if "node" in self._settings.resources:
            for figures in (
                self._node.memory(),
                self._node.processes(),
                self._node.descriptors(),
                self._node.tracked_connections(),
            ):
                yield from self._safely(figures)
        if "pressure" in self._settings.resources:
            yield from self._safely(self._node.pressure())

    def _of_others(self, *, show: bool) -> Iterator[Observation | Row | Retired]:
        before, self._extra = self._extra, set()
        for source, level in (*self._holders.look(), *self._queues()):
            self._extra.add(source.key)
            yield from self._figures.take(source, [level], show=show)
        for key in before - self._extra:
            yield from self._figures.end(key)

    def _queues(self) -> Iterator[tuple[Source, Level]]:
        if not self._settings.listeners:
            return
        try:
            found = listeners.listeners()
        except HostError as error:
            self._say(str(error))
            return
        if not self._settings.listen_port:
            for level in listeners.fullest(found, 1):
                yield Source("listener", f"port {level.port}"), replace(level, port=0)
            return
        for level in listeners.fullest(found, self._settings.listeners):
            if level.usage:
                yield Source(("listener", level.port), "port"), level

    def _safely(self, figures: Iterable[Figure]) -> Iterator[Figure]:
        try:
            yield from figures
        except (ValueError, KeyError) as error:
            self._garbled += 1
            reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            self._say(f"{self._kept.last} {reason}; this figure is left out")

    def _cannot_be_read(self, path: str, error: OSError) -> None:
        name = path.rpartition("/")[2]
        self._say(f"{name} cannot be read ({error.strerror}), at {path} and perhaps elsewhere; what it says is left out", name)

    def _say(self, sentence: str, what: str = "") -> None:
        if (what or sentence) not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(what or sentence)
            _log.warning("limits: %s", sentence)


class _Kills:
    """OOM kills of the node less those that the files of cgroups account for.

    Args:
        node: Has the sum.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._before = self._sum = node.oom_kills()
        self._by_group: dict[Hashable, int] = {}
        self._ended = self._elsewhere = 0

    def look(self) -> None:
        """Read the sum, before the cgroups: so it never has a kill that these have not."""
        self._sum = self._node.oom_kills()

    def add(self, key: Hashable, kills: int) -> None:
        """Take what one cgroup accounts for."""
        self._by_group[key] = kills

    def end(self, key: Hashable) -> None:
        """A cgroup is gone; its kills stay."""
        self._ended += self._by_group.pop(key, 0)

    def elsewhere(self) -> int:
        """Kills in cgroups that nobody read in time, or in the root."""
        known = self._ended + sum(self._by_group.values())
        self._elsewhere = max(self._elsewhere, self._sum - self._before - known)
        return self._elsewhere


def _source(key: Hashable, group: Group) -> Source:
    owner = Owner(0, 0, group.id, "") if group.id else None
    # what has no name of its own is told apart by its path
    return Source(key, group.path, owner, {CGROUP: group.path} if owner is None or group.is_inside else {})
