"""A loader that first works out what the maps will take, and keeps within the budget or refuses.

It stands before any other loader, so nothing has been made in the kernel when a mode is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from obi_core.btf import MapTypes
from obi_core.errors import LoadError
from obi_core.kernel.base import BpfObject, Loader
from obi_core.kernel.memory import MapShape, MemoryPlan
from obi_core.kernel.shipped import Shipped
from obi_core.model import LoadPlan, Mode
from obi_core.settings import BudgetSettings, size_text


@dataclass(frozen=True, slots=True)
class MapMemory:
    """What the maps of one probe take, and what was asked for."""

    planned: int
    """Bytes."""
    asked: int
    """Bytes, before anything was scaled down."""
    budget: int
    """Bytes."""
    maps: Mapping[str, int]
    """Planned bytes by map."""
    uncounted: tuple[str, ...] = ()
    """Maps that are in `maps` as 0, because they grow with what they are attached to."""
    loses: tuple[str, ...] = ()
    """What scaling down costs: `map tcp_sockets: 8192 of 16384 entries`."""

    @property
    def detail(self) -> str:
        """Say what was scaled down and how to change that; empty if nothing was."""
        if not self.loses:
            return ""
        return (
            f"its maps would take {size_text(self.asked)} and were scaled down to {size_text(self.planned)}, since"
            f" budgets.map_memory allows {size_text(self.budget)}: raise that, or ask for less"
        )

    def document(self) -> dict[str, object]:
        """JSON-ready."""
        return {"planned": self.planned, "asked": self.asked, "budget": self.budget, "maps": dict(self.maps)}


class BudgetedLoader:
    """Implements `base.Loader` for one start of one probe: several objects share its budget.

    Args:
        loader: Loads what fits.
        budgets: The limit, and whether maps may be scaled down to it.
        cpus: Possible CPUs.
        sized_by: The setting (`tcp.max_sockets`) behind the size of each map, for the error.
    """

    def __init__(self, loader: Loader, budgets: BudgetSettings, cpus: int, sized_by: Mapping[str, str]) -> None:
        self._loader, self._budgets, self._cpus, self._sized_by = loader, budgets, cpus, sized_by
        self.memory = MapMemory(0, 0, budgets.map_memory, {})
        """What has been planned so far."""

    def load(self, package: str, stem: str, mode: Mode, plan: LoadPlan) -> BpfObject:
        """Load within the budget; see `base.Loader.load`.

        Raises:
            LoadError: The maps do not fit (`need` is `budget`), or whatever the loader raises.
        """
        shipped = Shipped.read(package, stem)
        shipped.check(mode, plan)
        asked = planned = _plan(shipped, mode, plan, self._cpus)
        left = self._budgets.map_memory - self.memory.planned
        if self._budgets.scale_maps:
            planned = asked.scaled(plan.entries, left)
        if planned.total > left:
            raise self._refusal(shipped.source, mode, asked, planned)
        before = self.memory
        self.memory = MapMemory(
            before.planned + planned.total,
            before.asked + asked.total,
            before.budget,
            {**before.maps, **planned.sizes},
            (*before.uncounted, *planned.uncounted),
            (*before.loses, *planned.losses(asked)),
        )
        entries = {
            name: planned.maps[name].entries if name in planned.maps else number for name, number in plan.entries.items()
        }
        return self._loader.load(package, stem, mode, replace(plan, entries=entries))

    def _refusal(self, source: str, mode: Mode, asked: MemoryPlan, least: MemoryPlan) -> LoadError:
        largest = sorted(asked.sizes.items(), key=lambda size: (-size[1], size[0]))
        named = ", ".join(f"{name} {size_text(size)}" for name, size in largest[:3])
        smallest, remedy = f", {size_text(least.total)} at their smallest", "raise it"
        if not self._budgets.scale_maps:
            keys = dict.fromkeys(self._sized_by[name] for name, _ in largest if name in self._sized_by)
            smallest, remedy = "", ", ".join(["raise it", *(f"lower {key}" for key in list(keys)[:3])])
            remedy += ", or set budgets.scale_maps: true"
        return LoadError(
            f"{source}: the maps of mode {mode.name} take {size_text(asked.total)}{smallest} ({named}), and"
            f" budgets.map_memory allows {size_text(self._budgets.map_memory)} for the probe: {remedy}",
            need="budget",
        )


def _plan(shipped: Shipped, mode: Mode, plan: LoadPlan, cpus: int) -> MemoryPlan:
    programs = [program.name for program in mode.programs]
    maps: dict[str, MapShape] = {}
    for name in sorted(shipped.maps_of(programs)):
        maps[name] = MapShape.of(shipped.map_types.get(name, MapTypes(None, None)), plan.entries.get(name))
    for name in sorted(shipped.data_of(programs)):
        # .bss has no contents in the file, but its variables have places.
        ends = [offset + size for offset, size in shipped.elf.variables(name).values()]
        maps[name] = MapShape.of_data(max([len(shipped.elf.section(name)), *ends]))
    return MemoryPlan(maps, cpus)
