"""How kernel rows end: those of cgroups that are gone, and those that have not moved for long.

Without it a map fills up with the dead: a row is keyed by its owner, and nothing in the kernel says that a container has
ended. Once a minute, while a probe reads its rows, what is over is taken out of the map, given to the reader a last time, and
its key is retired.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from obi_core.kernel.base import BpfObject
from obi_core.model import Retired

LOOK_EVERY_S: Final = 60.0
_ROOT_ID: Final = 1
"""The root cgroup never ends; and 0 is nobody's."""

_Signature = int | bytes


class RowAges:
    """Ages of the rows of one probe's maps, in one generation.

    Args:
        living: Ids of all cgroups now; None if that cannot be known.
        idle_s: A row that has not moved for so long is over, s.
        look_every_s: Time between two looks, s; between them rows pass through untouched.
        clock: s, monotonic.
    """

    def __init__(
        self,
        living: Callable[[], frozenset[int] | None],
        idle_s: float,
        *,
        look_every_s: float = LOOK_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._living, self._idle_s, self._look_every_s, self._clock = living, idle_s, look_every_s, clock
        self._looks: dict[str, float] = {}
        self._known: dict[str, dict[bytes, tuple[_Signature, float]]] = {}
        self._gone: dict[str, frozenset[int]] = {}
        self._retired: list[Retired] = []

    def rows(self, bpf: BpfObject, map_name: str) -> Iterator[tuple[Any, Any]]:
        """Read a hash map whose keys begin with `struct obi_owner owner`; see `Probe.rows`."""
        now = self._clock()
        if now - self._looks.get(map_name, now - self._look_every_s) < self._look_every_s:
            yield from bpf.rows(map_name)
            return
        self._looks[map_name] = now
        living = self._living()
        before, self._known[map_name] = self._known.get(map_name, {}), {}
        missing, gone = set(), self._gone.get(map_name, frozenset())
        for key, value in bpf.rows(map_name):
            raw, cgroup_id = bytes(key), key.owner.cgroup_id
            signature = value if isinstance(value, int) else bytes(value)
            last, since = before.get(raw, (None, now))
            if last != signature:
                since = now
            ended = False
            if living is not None and cgroup_id > _ROOT_ID and cgroup_id not in living:
                # At two looks in a row: a row may be younger than the list of the living.
                missing.add(cgroup_id)
                ended = cgroup_id in gone
            if ended or now - since >= self._idle_s:
                last_value = bpf.take(map_name, key)
                yield key, value if last_value is None else last_value
                self._retired.append(Retired((map_name, raw), ended=True))
            else:
                self._known[map_name][raw] = signature, since
                yield key, value
        self._gone[map_name] = frozenset(missing)

    def retired(self) -> list[Retired]:
        """Keys of the rows that were taken since the last call."""
        retired, self._retired = self._retired, []
        return retired
