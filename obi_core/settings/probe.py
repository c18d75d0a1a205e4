"""What the settings of every probe have in common."""

from collections.abc import Callable, Mapping
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field

from obi_core.model import LoadPlan
from obi_core.settings.markers import Constant, Entries, Live, Marker, OptIn, Switch
from obi_core.settings.values import Seconds

_MOST_FACTOR: Final = (1 << 32) - 1
"""A sampling factor is a u32 in C."""


class ProbeSettings(BaseModel):
    """Settings of one probe: its configuration section. Subclass it and add fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval_s: Seconds | None = Field(None, description="Time between collections; not set: that of section `agent`.")

    def plan(self) -> LoadPlan:
        """What the marked fields ask of the BPF object; a field that is None asks for nothing.

        Raises:
            TypeError: A marked field is not a number; a mistake of the plugin's author.
        """
        constants: dict[str, int] = {}
        entries: dict[str, int] = {}
        for name, field in type(self).model_fields.items():
            number = _number(getattr(self, name), name)
            for marker in field.metadata:
                match marker:
                    case Constant(c_name, scale):
                        _put(constants, c_name, number, scale)
                    case Live() | Switch():
                        pass
                    case Entries(map_name, scale):
                        _put(entries, map_name, number, scale)
        return LoadPlan(constants, self.live(), entries)

    def live(self, level: int = 0) -> dict[str, int]:
        """Values of the `OBI_LIVE` settings, by C name, at a level of load shedding.

        Raises:
            TypeError: A marked field is not a number; a mistake of the plugin's author.
        """
        live: dict[str, int] = {}
        for name, field in type(self).model_fields.items():
            for marker in field.metadata:
                if isinstance(marker, Live):
                    _put(live, marker.c_name, _number(getattr(self, name), name), marker.scale)
                    if marker.shed and marker.c_name in live:
                        live[marker.c_name] = min(live[marker.c_name] << level, _MOST_FACTOR)
        return live

    def switched_off(self) -> frozenset[str]:
        """Programs, by C function name, that these settings do not want."""
        wanted: dict[str, bool] = {}
        for name, field in type(self).model_fields.items():
            for marker in field.metadata:
                if isinstance(marker, Switch):
                    wanted[marker.program] = wanted.get(marker.program, False) or bool(getattr(self, name))
        return frozenset(program for program, on in wanted.items() if not on)

    def samples(self) -> bool:
        """Whether load shedding can raise sampling: a field marked `Live(…, shed=True)` is not 0."""
        return any(
            isinstance(marker, Live) and marker.shed and bool(getattr(self, name))
            for name, field in type(self).model_fields.items()
            for marker in field.metadata
        )

    def opted_in(self) -> tuple[str, ...]:
        """Fields marked `OptIn` that are on."""
        return tuple(name for name, off in self._opt_ins().items() if getattr(self, name) != off)

    def without_opt_ins(self) -> Self:
        """These settings with every `OptIn` off."""
        return self.model_copy(update=dict(self._opt_ins()))

    @classmethod
    def _opt_ins(cls) -> Mapping[str, bool | str]:
        """Fields marked `OptIn`, with their value when they are off."""
        fields = cls.model_fields.items()
        return {name: marker.off for name, field in fields for marker in field.metadata if isinstance(marker, OptIn)}

    def differs_live_only(self, other: "ProbeSettings") -> bool:
        """Whether a loaded object can follow from these settings to `other`: only `Live` fields differ, and none is None."""
        for name, field in type(self).model_fields.items():
            value = getattr(other, name)
            if value != getattr(self, name):
                markers = [marker for marker in field.metadata if isinstance(marker, Marker)]
                if value is None or not markers or not all(isinstance(marker, Live) for marker in markers):
                    return False
        return True


def sized_by(settings: ProbeSettings) -> Mapping[str, str]:
    """Which field says how many entries each map has, by map name."""
    fields = type(settings).model_fields.items()
    return {marker.map_name: name for name, field in fields for marker in field.metadata if isinstance(marker, Entries)}


def _number(value: object, name: str) -> Callable[[], float | None]:
    def read() -> float | None:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        raise TypeError(f"field {name} carries a BPF marker, so its value must be a number, not {type(value).__name__}")

    return read


def _put(into: dict[str, int], key: str, number: Callable[[], float | None], scale: float) -> None:
    value = number()
    if value is not None:
        into[key] = round(value * scale)
