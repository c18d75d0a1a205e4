"""BTF of the running kernel from a file, for kernels without their own: one file, or a tree as BTFHub keeps it.

Such a tree has `<distribution>/<version>/<arch>/<release>.btf` (https://github.com/aquasecurity/btfhub-archive, unpacked);
distribution and version are `ID` and `VERSION_ID` of /etc/os-release, arch is what `uname -m` says (`arm64` for aarch64).
"""

import platform
from pathlib import Path
from typing import Final

from obi_core.errors import ConfigError, LoadError
from obi_core.host import Host

_MAGIC: Final = b"\x9f\xeb"
"""BTF_MAGIC, little-endian."""
_LEAST: Final = 24
"""Bytes of `struct btf_header`."""
_KEY: Final = "kernel.btf"


def find_btf_file(given: Path, host: Host, os_release: Path = Path("/etc/os-release")) -> Path:
    """Find this kernel's BTF.

    Args:
        given: A file, or the root of a tree.
        host: This node.
        os_release: Which distribution this is.

    Raises:
        ConfigError: There is no such file, or the tree has none for this kernel.
    """
    if given.is_file():
        return given
    if not given.is_dir():
        raise ConfigError(f"{given}: no such file or directory; name a BTF file, or a tree as BTFHub keeps it", key=_KEY)
    machine = platform.machine()
    words = _os_release(os_release)
    distribution, version = words.get("ID", ""), words.get("VERSION_ID", "")
    arch = {"aarch64": "arm64"}.get(machine, machine)
    wanted = Path(distribution, version, arch, f"{host.release()}.btf")
    # a tree may also hold only what this node's image was made for
    for candidate in (given / wanted, given / f"{host.release()}.btf"):
        if candidate.is_file():
            return candidate
    raise ConfigError(f"{given} has no BTF for this kernel: there is no {wanted}; put it there, or name the file", key=_KEY)


def check_btf_file(path: Path) -> None:
    """Look at the first bytes.

    Raises:
        LoadError: It cannot be read, or is not BTF.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_LEAST)
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}", errno=error.errno or 0, need="btf_file") from error
    size = path.stat().st_size
    lengths = [int.from_bytes(head[at : at + 4], "little") for at in range(4, _LEAST, 4)]
    if len(head) < _LEAST or head[:2] != _MAGIC or lengths[0] + max(lengths[1] + lengths[2], lengths[3] + lengths[4]) > size:
        raise LoadError(f"{path} is not a BTF file, or is cut short", need="btf_file")


def _os_release(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip("\"'") for name, sign, value in (line.partition("=") for line in lines) if sign}
