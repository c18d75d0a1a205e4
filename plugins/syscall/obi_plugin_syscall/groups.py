"""Groups of system calls that the settings may name, and what is special about some: what `groups.toml` says."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Self


@dataclass(frozen=True, slots=True)
class Groups:
    """Names of system calls."""

    named: Mapping[str, tuple[str, ...]]
    """By the word that the settings use."""
    blocking: frozenset[str]
    """Those that wait for somebody else: how long says nothing about the kernel."""
    forks: frozenset[str]
    """Those that return in the child too, with 0."""
    ends: frozenset[str]
    """Those that do not return."""

    @classmethod
    def read(cls) -> Self:
        """Read what the package ships."""
        document = tomllib.loads(files("obi_plugin_syscall").joinpath("groups.toml").read_text())
        special = {name: frozenset(text.split()) for name, text in document["special"].items()}
        return cls({name: tuple(text.split()) for name, text in document["groups"].items()}, **special)
