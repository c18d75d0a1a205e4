"""What the settings of every probe have in common."""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from obi_core.model import LoadPlan
from obi_core.settings.markers import Constant, Entries, Live
from obi_core.settings.values import Seconds


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
        live: dict[str, int] = {}
        entries: dict[str, int] = {}
        for name, field in type(self).model_fields.items():
            number = _number(getattr(self, name), name)
            for marker in field.metadata:
                match marker:
                    case Constant(c_name, scale):
                        _put(constants, c_name, number, scale)
                    case Live(c_name, scale):
                        _put(live, c_name, number, scale)
                    case Entries(map_name, scale):
                        _put(entries, map_name, number, scale)
        return LoadPlan(constants, live, entries)


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
