"""What a plugin's wheel ships for the kernel, read but not loaded: programs, maps, types, constants."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Self, TypeVar

from obi_core.btf import Btf, CType, MapTypes
from obi_core.elf import ElfObject
from obi_core.errors import LoadError, ObiError
from obi_core.model import LoadPlan, Mode

CONSTANTS_SECTION = ".rodata"
_Type = TypeVar("_Type")


@dataclass(frozen=True)
class Shipped:
    """One `<stem>.bpf.o`. BCC takes its record types from here too: both builds have one source."""

    source: str
    """`package/stem.bpf.o`, for errors."""
    data: bytes
    elf: ElfObject
    btf: Btf

    @classmethod
    def read(cls, package: str, stem: str) -> Self:
        """Read `<stem>.bpf.o` from an importable package.

        Raises:
            LoadError: It is not there (`need` is `object`), or is damaged.
        """
        source = f"{package}/{stem}.bpf.o"
        try:
            data = files(package).joinpath(f"{stem}.bpf.o").read_bytes()
        except (FileNotFoundError, ModuleNotFoundError) as error:
            message = f"{source} is missing: the plugin was not built; run `make bpf`, or install its wheel"
            raise LoadError(message, need="object") from error
        except OSError as error:
            raise LoadError(f"{source} cannot be read: {error.strerror}; install the plugin again", need="object") from error
        try:
            elf = ElfObject(data, source)
            return cls(source, data, elf, Btf(elf.section(".BTF"), source))
        except ObiError as error:
            raise LoadError(str(error), need="object") from error

    @cached_property
    def map_types(self) -> Mapping[str, MapTypes]:
        """Key and value types of every map."""
        return self._decoded(self.btf.maps)

    @cached_property
    def records(self) -> Mapping[str, CType]:
        """Types that `OBI_RECORD` names."""
        return self._decoded(self.btf.records)

    @staticmethod
    def _decoded(read: Callable[[], dict[str, _Type]]) -> dict[str, _Type]:
        try:
            return read()
        except ObiError as error:
            raise LoadError(str(error), need="object") from error

    def check(self, mode: Mode, plan: LoadPlan) -> None:
        """Check that the object has whatever the mode and the settings name.

        Raises:
            LoadError: It lacks a program, map or constant; names it.
        """
        constants = self.elf.variables(CONSTANTS_SECTION)
        for kind, wanted, present in (
            ("program", [program.name for program in mode.programs], self.elf.programs),
            ("constant (OBI_SETTING)", plan.constants, constants),
            ("setting (OBI_LIVE)", plan.live, self.map_types),
            ("map", plan.entries, self.map_types),
        ):
            for name in wanted:
                if name not in present:
                    raise LoadError(f"{self.source} has no {kind} called {name}; correct the name in the plugin, or build it")

    def maps_of(self, programs: Iterable[str]) -> frozenset[str]:
        """Maps that these programs refer to, themselves or through what they call."""
        return frozenset[str]().union(*(self.elf.programs[name].maps for name in programs))

    def data_of(self, programs: Iterable[str]) -> frozenset[str]:
        """Data sections that these programs refer to, themselves or through what they call."""
        return frozenset[str]().union(*(self.elf.programs[name].data for name in programs))

    def constant_bytes(self, constants: Mapping[str, int]) -> list[tuple[int, bytes]]:
        """Place constants: offset in `.rodata` and bytes of each that the object has.

        Raises:
            LoadError: A value does not fit its C type.
        """
        placed = []
        variables = self.elf.variables(CONSTANTS_SECTION)
        for name, value in constants.items():
            if name in variables:
                offset, size = variables[name]
                try:
                    placed.append((offset, value.to_bytes(size, "little", signed=value < 0)))
                except OverflowError as error:
                    raise LoadError(f"{self.source}: {value} does not fit {name}, which has {size} bytes") from error
        return placed
