"""Numbers of system calls, read from the kernel's own headers: how the files in `numbers/` are made.

`python -m obi_plugin_syscall.headers` writes them anew. It needs clang, and the Debian packages linux-libc-dev,
linux-libc-dev-arm64-cross and linux-libc-dev-armhf-cross; an instruction set whose headers are not there is left as it is.
"""

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class Headers:
    """Where the numbers of one instruction set stand."""

    target: str
    """As clang names it."""
    header: str
    folders: tuple[str, ...]
    package: str
    """Debian package that has them."""

    @property
    def present(self) -> bool:
        """Whether the package is installed."""
        return any(Path(folder, self.header).is_file() for folder in self.folders)


HEADERS: Final[Mapping[str, Headers]] = {
    "x86_64": Headers(
        "x86_64-linux-gnu", "asm/unistd_64.h", ("/usr/include/x86_64-linux-gnu", "/usr/include"), "linux-libc-dev:amd64"
    ),
    "i386": Headers(
        "i386-linux-gnu", "asm/unistd_32.h", ("/usr/include/x86_64-linux-gnu", "/usr/include"), "linux-libc-dev:amd64"
    ),
    "arm64": Headers("aarch64-linux-gnu", "asm/unistd.h", ("/usr/aarch64-linux-gnu/include",), "linux-libc-dev-arm64-cross"),
    "arm": Headers("arm-linux-gnueabihf", "asm/unistd.h", ("/usr/arm-linux-gnueabihf/include",), "linux-libc-dev-armhf-cross"),
}
_NAME: Final = re.compile(r"^#define __NR_([a-z_]\w*) ", re.MULTILINE)
_NUMBER: Final = re.compile(r"^obi (\w+) \(?(?:\(?0\)?\s*\+\s*)?(\d+)\)?$", re.MULTILINE)
_NOT_CALLS: Final = frozenset({"syscalls", "arch_specific_syscall", "sync_file_range2"})
"""Macros of that form that are none; `sync_file_range2` is arm's other name of `arm_sync_file_range`."""


def numbers(abi: str) -> dict[str, int]:
    """Read the numbers of one instruction set, by name, in the order of the numbers.

    Raises:
        subprocess.CalledProcessError: clang could not read the headers.
    """
    source = HEADERS[abi]
    include = f"#include <{source.header}>\n"
    names = sorted(set(_NAME.findall(_preprocess(source, include, "-dM"))) - _NOT_CALLS)
    asked = include + "".join(f"obi {name} __NR_{name}\n" for name in names)
    found = {name: int(number) for name, number in _NUMBER.findall(_preprocess(source, asked))}
    return dict(sorted(found.items(), key=lambda each: (each[1], each[0])))


def _preprocess(source: Headers, text: str, *options: str) -> str:
    folders = [f"-isystem{folder}" for folder in source.folders]
    command = ["clang", "-E", "-P", f"--target={source.target}", "-nostdinc", *folders, *options, "-xc", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout


def main() -> None:
    """Write the files of all instruction sets whose headers are here."""
    for abi, source in HEADERS.items():
        if not source.present:
            sys.stderr.write(f"{abi}: left as it is, for {source.package} is not installed\n")
            continue
        lines = "".join(f"{number}\t{name}\n" for name, number in numbers(abi).items())
        Path(__file__).with_name("numbers").joinpath(f"{abi}.tsv").write_text(lines)


if __name__ == "__main__":
    main()
