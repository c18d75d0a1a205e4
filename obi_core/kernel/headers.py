"""Kernel headers for BCC: where they are, and of which release.

The running kernel's own come first: `BCC_KERNEL_SOURCE`, `/lib/modules/<release>`, `kheaders`. Those of another release serve
programs that read none of the kernel's memory: what such a program takes from the headers is the same in all of them.
"""

import importlib.util
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

MODULES: Final = Path("/lib/modules")
"""Where BCC looks for headers; it cannot be told another place but by BCC_KERNEL_SOURCE."""
VARIABLE: Final = "BCC_KERNEL_SOURCE"
_MARK: Final = "include/linux/kconfig.h"
"""The file by which BCC knows kernel headers."""
_RELEASE: Final = re.compile(r'UTS_RELEASE\s+"([^"]+)"')
_READS: Final = re.compile(r"\b(bpf_probe_read(?:_kernel)?(?:_str)?|bpf_get_current_task(?:_btf)?)\b")
_ARCH: Final = {"x86_64": "x86", "aarch64": "arm64"}


class Facts(Protocol):
    """What is asked of `host.Host`."""

    @property
    def sys(self) -> Path:
        """Where sysfs is."""

    def release(self) -> str:
        """Kernel release."""


@dataclass(frozen=True, slots=True)
class Headers:
    """Kernel headers that were found, or why there are none."""

    source: Path | None
    """What is independent of the machine; None: BCC unpacks `kheaders` itself, or there are none."""
    build: Path | None = None
    """What was made for one configuration; may be the same directory."""
    release: str = ""
    """Whose they are, as far as they say."""
    own: bool = False
    """Whether they are of the running kernel."""
    problem: str = ""
    """Why there are none, with the next step."""

    @property
    def usable(self) -> bool:
        """Whether BCC can compile with them."""
        return not self.problem

    @property
    def merged(self) -> bool:
        """Whether BCC takes them as they lie there."""
        return self.source is None or self.source == self.build

    def merge(self, folder: Path) -> Path:
        """Make one tree of both parts, as BCC_KERNEL_SOURCE wants it, out of symbolic links."""
        for part in ("include", f"arch/{_ARCH.get(platform.machine(), platform.machine())}/include"):
            (folder / part).mkdir(parents=True)
            for side in (self.source, self.build):
                for child in (side / part).iterdir() if side is not None and (side / part).is_dir() else ():
                    link = folder / part / child.name
                    if not link.is_symlink():
                        link.symlink_to(child)
        return folder


def find_headers(host: Facts, environ: Mapping[str, str] | None = None, modules: Path = MODULES) -> Headers:
    """Find headers, the running kernel's own if there are any.

    Args:
        host: This node.
        environ: The environment; BCC_KERNEL_SOURCE in it wins.
        modules: Where the distribution links headers, by release.
    """
    release = host.release()
    if given := (os.environ if environ is None else environ).get(VARIABLE):
        source = Path(given)
        if not (source / _MARK).is_file():
            problem = f"{VARIABLE}={given} holds no kernel headers (no {_MARK}); correct or unset it"
            return Headers(None, problem=problem)
        return _of(source, source, release)
    if (found := _under(modules / release, release)) is not None:
        return found
    if (host.sys / "kernel/kheaders.tar.xz").is_file():
        return Headers(None, None, release, own=True)
    others = [headers for path in _releases(modules) if (headers := _under(path, release)) is not None]
    if others:
        return others[-1]
    problem = (
        f"BCC needs kernel headers and {modules / release} has none: install the package linux-headers-{release},"
        f" or name a directory that has them in {VARIABLE}"
    )
    return Headers(None, problem=problem)


def reads_kernel_memory(source: str) -> str:
    """Name the first helper in a program's text that reads what only its own kernel's headers describe; empty: none."""
    found = _READS.search(source)
    return found[1] if found else ""


def bcc_package() -> Path | None:
    """Where BCC's Python package is; None if it is not installed. PyPI's `bcc` is another library: it has no libbcc.py."""
    try:
        spec = importlib.util.find_spec("bcc")
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin:
        return None
    folder = Path(spec.origin).parent
    return folder if (folder / "libbcc.py").is_file() else None


def bcc_version() -> str | None:
    """Version of BCC, without importing it: that would load a compiler. None: it is not installed."""
    folder = bcc_package()
    if folder is None:
        return None
    try:
        found = re.search(r"""__version__ = ['"]([^'"]+)""", (folder / "version.py").read_text())
    except OSError:
        found = None
    return found[1] if found else "unknown"


def _releases(modules: Path) -> list[Path]:
    try:
        return sorted(modules.iterdir())
    except OSError:
        return []


def _under(folder: Path, release: str) -> Headers | None:
    source, build = folder / "source", folder / "build"
    if (source / _MARK).is_file():
        return _of(source, build if build.is_dir() else source, release)
    return _of(build, build, release) if (build / _MARK).is_file() else None


def _of(source: Path, build: Path, release: str) -> Headers:
    try:
        found = _RELEASE.search((build / "include/generated/utsrelease.h").read_text())
    except OSError:
        found = None
    theirs = found[1] if found else ""
    return Headers(source, build, theirs, own=theirs == release)
