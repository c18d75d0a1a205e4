"""OBI: what the kernel does, for whom. This is the surface for plugin authors; everything else may change tomorrow.

Names are imported when they are first used, so importing `obi_core` costs nothing. Nothing inside OBI imports from here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from obi_core.cgroups import Cgroup, Cgroups
    from obi_core.decode import AccountRecord, OwnerRecord, accounts, address, errno_name, owner, tcp_state, text
    from obi_core.errors import (
        AttachError,
        ConfigError,
        DecodeError,
        HostError,
        KernelError,
        LoadError,
        ObiError,
        PluginError,
    )
    from obi_core.hookspecs import hookimpl
    from obi_core.kernel.base import BpfObject, Loader
    from obi_core.kernel.enums import kernel_enum
    from obi_core.model import (
        API_VERSION,
        Account,
        Buckets,
        Column,
        Fold,
        Instrument,
        Kind,
        LoadPlan,
        LogEvent,
        Loss,
        Mode,
        Observation,
        Owner,
        ProbeState,
        Program,
        Reason,
        Retired,
        Row,
        Severity,
        Span,
        View,
        Yielded,
    )
    from obi_core.probe import Probe
    from obi_core.resolver import Resolver, Subject
    from obi_core.settings import Constant, CoreSettings, Entries, Live, OptIn, ProbeSettings, Seconds, Switch
    from obi_core.sink import Sink, Source, ViewTable

__version__: Final = "0.1.0"

__all__ = [
    "API_VERSION",
    "Account",
    "AccountRecord",
    "AttachError",
    "BpfObject",
    "Buckets",
    "Cgroup",
    "Cgroups",
    "Column",
    "ConfigError",
    "Constant",
    "CoreSettings",
    "DecodeError",
    "Entries",
    "Fold",
    "HostError",
    "Instrument",
    "KernelError",
    "Kind",
    "Live",
    "LoadError",
    "LoadPlan",
    "Loader",
    "LogEvent",
    "Loss",
    "Mode",
    "ObiError",
    "Observation",
    "OptIn",
    "Owner",
    "OwnerRecord",
    "PluginError",
    "Probe",
    "ProbeSettings",
    "ProbeState",
    "Program",
    "Reason",
    "Resolver",
    "Retired",
    "Row",
    "Seconds",
    "Severity",
    "Sink",
    "Source",
    "Span",
    "Subject",
    "Switch",
    "View",
    "ViewTable",
    "Yielded",
    "__version__",
    "accounts",
    "address",
    "errno_name",
    "hookimpl",
    "kernel_enum",
    "owner",
    "tcp_state",
    "text",
]

_HOMES: Final = {
    "obi_core.cgroups": ("Cgroup", "Cgroups"),
    "obi_core.decode": ("AccountRecord", "OwnerRecord", "accounts", "address", "errno_name", "owner", "tcp_state", "text"),
    "obi_core.errors": (
        "AttachError",
        "ConfigError",
        "DecodeError",
        "HostError",
        "KernelError",
        "LoadError",
        "ObiError",
        "PluginError",
    ),
    "obi_core.hookspecs": ("hookimpl",),
    "obi_core.kernel.base": ("BpfObject", "Loader"),
    "obi_core.kernel.enums": ("kernel_enum",),
    "obi_core.model": (
        "API_VERSION",
        "Account",
        "Buckets",
        "Column",
        "Fold",
        "Instrument",
        "Kind",
        "LoadPlan",
        "LogEvent",
        "Loss",
        "Mode",
        "Observation",
        "Owner",
        "ProbeState",
        "Program",
        "Reason",
        "Retired",
        "Row",
        "Severity",
        "Span",
        "View",
        "Yielded",
    ),
    "obi_core.probe": ("Probe",),
    "obi_core.resolver": ("Resolver", "Subject"),
    "obi_core.settings": ("Constant", "CoreSettings", "Entries", "Live", "OptIn", "ProbeSettings", "Seconds", "Switch"),
    "obi_core.sink": ("Sink", "Source", "ViewTable"),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
