"""Flags that set a setting, as a table, and the settings that come of them."""

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from obi_core.errors import ConfigError

if TYPE_CHECKING:
    from obi_core.host import Host
    from obi_core.settings import KubernetesSettings, Settings
    from obi_core.settings.loading import NodeLabels


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag that sets one setting."""

    flag: str
    setting: str
    """Dotted path."""
    metavar: str
    text: str


PLUGINS: Final = Flag("--plugins", "agent.plugins", "A,B", "probes to run (default: every built-in probe that is installed)")
LOG_LEVEL: Final = Flag("--log-level", "agent.log_level", "LEVEL", "debug, info, warning or error (default: info)")
BTF: Final = Flag("--btf", "kernel.btf", "PATH", "BTF of this kernel, if it has none of its own: a file, or a BTFHub tree")
HTTP_LISTEN: Final = Flag(
    "--http-listen", "http.listen", "HOST:PORT", "where health and readiness are served (default: 127.0.0.1:8080)"
)
RUN: Final = (
    PLUGINS,
    Flag("--interval", "agent.interval_s", "TIME", "time between two collections, such as 2s or 500ms (default: 10s)"),
    Flag("--metrics-listen", "metrics.listen", "HOST:PORT", "where Prometheus text is served (default: 127.0.0.1:9090)"),
    HTTP_LISTEN,
    Flag(
        "--otlp-endpoint",
        "otlp.endpoint",
        "ADDRESS",
        "also export over OTLP: HOST:PORT, http://HOST:PORT or https://HOST:PORT",
    ),
    Flag("--otlp-protocol", "otlp.protocol", "PROTOCOL", "auto, grpc or http (default: auto; port 4317 means grpc)"),
    Flag("--view", "agent.view", "VIEW", "auto, table, lines or off (default: auto, a table on a terminal)"),
    BTF,
    LOG_LEVEL,
)
LOOK: Final = (PLUGINS, LOG_LEVEL)
LOOK_INTO: Final = (PLUGINS, BTF, LOG_LEVEL)


def add_settings(parser: argparse.ArgumentParser, flags: tuple[Flag, ...]) -> None:
    """Give a command `--config` and these flags."""
    parser.add_argument("--config", metavar="DIR", help="directory with *.yaml files (default: OBI_CONFIG, else none)")
    for flag in flags:
        parser.add_argument(flag.flag, dest=flag.setting, metavar=flag.metavar, help=flag.text)


def settings_of(
    arguments: argparse.Namespace,
    flags: tuple[Flag, ...],
    more: Mapping[str, str] | None = None,
    labels: "NodeLabels | None" = None,
) -> "Settings":
    """Load the settings that files, variables and the flags of a command ask for.

    Args:
        arguments: What was typed.
        flags: The flags of the command.
        more: Other settings by dotted path (`--set`).
        labels: Reads the labels by which a pool is chosen; None: this node's, once.

    Raises:
        ConfigError: Something in them is wrong.
    """
    from obi_core.settings import Given, load_settings  # `obi --help` needs no pydantic

    given = {
        flag.setting: Given(value, flag.flag) for flag in flags if (value := getattr(arguments, flag.setting)) is not None
    }
    given |= {key: Given(value, "--set") for key, value in (more or {}).items()}
    return load_settings(directory_of(arguments), os.environ, given, labels=labels or _node_labels)


def _node_labels(kubernetes: "KubernetesSettings") -> Mapping[str, str]:
    from obi_core.runtime.node_labels import NodeLabels  # only where a pool has a selector

    return NodeLabels(os.environ)(kubernetes)


def directory_of(arguments: argparse.Namespace) -> Path | None:
    """Give the directory of the configuration, if there is one.

    Raises:
        ConfigError: Its name is empty.
    """
    directory = arguments.config if arguments.config is not None else os.environ.get("OBI_CONFIG")
    if directory == "":
        raise ConfigError("names no directory", file="--config" if arguments.config is not None else "OBI_CONFIG")
    return None if directory is None else Path(directory)


def host_of(settings: "Settings") -> "Host":
    """This node, with the BTF file that the settings give it.

    Raises:
        ConfigError: There is no such file.
    """
    from obi_core.host import Host  # `obi --help` needs none of it
    from obi_core.kernel.btf_file import find_btf_file

    given = settings.core.kernel.btf
    return Host() if given is None else Host(btf_file=find_btf_file(Path(given), Host()))


@contextmanager
def located(settings: "Settings") -> Iterator[None]:
    """Give a ConfigError that knows only its key the place where that key was set.

    Raises:
        ConfigError: The block raised it.
    """
    try:
        yield
    except ConfigError as err:
        if err.file is not None or err.key is None:
            raise
        place = settings.origin(err.key)
        raise ConfigError(err.message, file=place.name or None, line=place.line, key=err.key) from err
