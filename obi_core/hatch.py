"""The build hook: every `<stem>.bpf.c` of a distribution becomes `<stem>.bpf.o` and `<stem>.bcc.c` beside it.

All that a plugin's `pyproject.toml` needs::

    [build-system]
    requires = ["hatchling", "obi-core"]
    build-backend = "hatchling.build"

    [tool.hatch.build.hooks.obi-bpf]

The object is CO-RE: compiled here, loaded anywhere; its DWARF is stripped, its BTF stays. The other file is the same source
with its macros expanded, for nodes without BTF, where BCC compiles it. Both are left out of version control and of sdists,
packed into wheels, and simply lie there for editable installs. They are made anew when the source or a header is newer.

`python -m obi_core.hatch DIR...` does the same without building a distribution.

Standard library and hatchling only, and nothing else of OBI: the core builds itself with this file before it is installed.
"""

import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.plugin import hookimpl

_TARGET_ARCH: Final = {"x86_64": "x86", "aarch64": "arm64"}
"""Names that `bpf_tracing.h` gives to machines: they decide where a kprobe finds its arguments."""

_ERROR: Final = re.compile(r"^(?P<file>[^:\n]+):(?P<line>\d+):\d+: (?:fatal )?error: (?P<text>.*)$", re.MULTILINE)


class BuildError(Exception):
    """A source does not become an object; the text is one sentence, with file and line where a file is wrong."""


class BpfBuildHook(BuildHookInterface[BuilderConfig]):
    """Builds BPF for the wheel target, standard and editable; keeps sdists to sources."""

    PLUGIN_NAME = "obi-bpf"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Build before hatchling packs, and have it pack what version control ignores."""
        if self.target_name == "sdist":
            # Where version control does not ignore them: an object in an sdist would be of the machine that packed it.
            self.build_config.target_config.setdefault("exclude", []).extend(("*.bpf.o", "*.bcc.c"))
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        made: list[Path] = []
        try:
            made = build(map(Path, self.build_config.only_include or [self.root]))
        except BuildError as error:
            self.app.abort(f"obi-bpf: {error}")
        if made:
            build_data["artifacts"] += [f"/{path.relative_to(root)}" for path in made]
            # A kprobe's object holds register offsets of one machine, so the wheel is not for any.
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-linux_{platform.machine()}"


@hookimpl
def hatch_register_build_hook() -> type[BpfBuildHook]:
    """Announce the hook to hatchling."""
    return BpfBuildHook


def include_dir() -> Path:
    """Where `<obi/obi.h>` is found: inside the installed package, or beside the package in a source tree.

    Raises:
        BuildError: The headers are in neither place.
    """
    here = Path(__file__).resolve().parent
    for candidate in (here / "include", here.parent / "bpf"):
        if (candidate / "obi" / "obi.h").is_file():
            return candidate
    raise BuildError(f"no obi/obi.h in {here / 'include'} nor in {here.parent / 'bpf'}: reinstall obi-core")


def build(directories: Iterable[Path]) -> list[Path]:
    """Build every `*.bpf.c` under `directories`, skipping what is up to date.

    Returns:
        All products, new and old: objects and preprocessed sources.

    Raises:
        BuildError: A directory, a tool or a header is missing, or a source is wrong.
    """
    products: list[Path] = []
    for source in _sources(directories):
        outputs = [source.with_name(source.name.removesuffix(".bpf.c") + suffix) for suffix in (".bpf.o", ".bcc.c")]
        if not _fresh(outputs, source):
            _build(source, *outputs)
        products += outputs
    return products


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what lies under the given directories; 0, or 1 with one sentence on standard error."""
    directories = [Path(argument) for argument in (sys.argv[1:] if arguments is None else arguments)]
    try:
        build(directories)
    except BuildError as error:
        sys.stderr.write(f"obi-bpf: {error}\n")
        return 1
    return 0


def _sources(directories: Iterable[Path]) -> list[Path]:
    found: set[Path] = set()
    for directory in directories:
        if not directory.exists():
            raise BuildError(f"{directory} does not exist")
        found.update(path for path in directory.rglob("*.bpf.c") if ".venv" not in path.parts)
    return sorted(found)


def _fresh(outputs: Iterable[Path], source: Path) -> bool:
    """Whether all outputs are newer than all they are made from. Equal times, as in an unpacked sdist, are not."""
    inputs = [source, Path(__file__), *source.parent.glob("*.h"), *include_dir().rglob("*.h")]
    try:
        return min(path.stat().st_mtime_ns for path in outputs) > max(path.stat().st_mtime_ns for path in inputs)
    except FileNotFoundError:
        return False


def _build(source: Path, bpf_object: Path, preprocessed: Path) -> None:
    machine = platform.machine()
    if machine not in _TARGET_ARCH:
        raise BuildError(f"{source.name} cannot be built on {machine}: OBI knows {', '.join(sorted(_TARGET_ARCH))}")
    include = include_dir()
    common = ["clang", "-target", "bpf", f"-D__TARGET_ARCH_{_TARGET_ARCH[machine]}", "-I", str(include)]
    # All kernels in scope know the v2 instructions.
    flags = ["-O2", "-g", "-mcpu=v2", "-Wall", "-Werror", "-fno-addrsig"]
    # Line information names files as plugins do, not as this machine does.
    flags += ["-fdebug-compilation-dir=.", *(f"-ffile-prefix-map={path}=." for path in (include, source.parent))]
    # Into a folder beside them first: whoever reads meanwhile never finds half an object.
    with tempfile.TemporaryDirectory(prefix=".obi-bpf-", dir=source.parent) as folder:
        half = Path(folder)
        _run([*common, *flags, "-c", str(source), "-o", str(half / "o")], source)
        _run(["llvm-strip", "-g", str(half / "o")], source)
        _run([*common, "-E", "-P", "-DOBI_BCC", str(source), "-o", str(half / "c")], source)
        (half / "o").replace(bpf_object)
        (half / "c").replace(preprocessed)


def _run(command: list[str], source: Path) -> None:
    tool = command[0]
    if shutil.which(tool) is None:
        raise BuildError(f"{tool} is not installed and {_shown(source)} needs it (Debian: apt install clang llvm libbpf-dev)")
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        return
    errors = list(_ERROR.finditer(done.stderr))
    if not errors:
        last = (done.stderr.strip() or f"status {done.returncode}").splitlines()[-1]
        raise BuildError(f"{_shown(source)}: {tool} failed: {last}")
    first, more = errors[0], len(errors) - 1
    text = first["text"] + (f" (and {more} more)" if more else "")
    if "'bpf/" in text and "file not found" in text:
        text += "; libbpf's headers are not installed (Debian: apt install libbpf-dev)"
    raise BuildError(f"{_shown(Path(first['file']))}:{first['line']}: {text}")


def _shown(path: Path) -> str:
    """The path as the person at the terminal would write it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
