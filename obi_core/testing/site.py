"""A folder of installed distributions, made for a test: plugins with real metadata, without an installer."""

import sys
import textwrap
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path


class Site:
    """Puts plugins into a folder that is on `sys.path`.

    Args:
        path: The folder, empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.modules: list[str] = []

    def install(self, dist: str, name: str, source: str, *, version: str = "1.2") -> str:
        """Install a distribution of one module that announces one plugin.

        Args:
            dist: Name of the distribution.
            name: Name of the entry point in group `obi.plugins`.
            source: The module's text; indentation that all lines share is taken away.
            version: Version of the distribution.

        Returns:
            Name of the module.
        """
        module = f"site_{dist.replace('-', '_')}"
        (self.path / f"{module}.py").write_text(textwrap.dedent(source))
        info = self.path / f"{dist.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[obi.plugins]\n{name} = {module}\n")
        self.modules.append(module)
        return module

    def entry_points(self) -> Iterable[metadata.EntryPoint]:
        """Entry points of the plugins in this folder, and of no other."""
        for dist in metadata.distributions(path=[str(self.path)]):
            yield from (entry for entry in dist.entry_points if entry.group == "obi.plugins")

    def forget(self) -> None:
        """Let the modules be imported anew by the next test."""
        for module in self.modules:
            sys.modules.pop(module, None)
