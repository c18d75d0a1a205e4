"""Boots other kernels: Debian's packages under QEMU through virtme-ng, with this machine's files shared into the guest.

A kernel is fetched once and kept under ~/.cache/obi/kernels (XDG_CACHE_HOME), one folder per package, never in /boot or
/lib/modules: `rm -r` it to fetch a newer one.
"""

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from obi_core.testing import plugin

_TREE = Path(__file__).parents[2]
_GUEST = Path(__file__).with_name("guest.sh")
_PROGRAMS = {
    "apt-get": "apt",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "file": "file",
    "qemu-system-x86_64": "qemu-system-x86",
}
"""What has to be there, by the Debian package that brings it."""
_QUICK = (
    "exactly or every_mode_works or each_way or again_counts or round_trip_times_are_counted or 32_bit_calls"
    " or cause_of_is_the_systems"
)
"""What the lane runs of the plugins' kernel tests: each outcome, each signal, nothing left behind. OBI_GUEST=full: all."""
_GUEST_S, _BOOT_S = 900, 120
"""How long the guest's tests may take, and how long it may take beside them. Emulation is slow, and a busy machine slower."""
_NEEDLESS = ("drivers/gpu", "drivers/media", "drivers/net/ethernet", "drivers/net/wireless", "drivers/infiniband", "sound")
"""Modules that no guest has hardware for: half of the package."""

_summaries = pytest.StashKey[list[str]]()


@dataclass(frozen=True)
class Image:
    """An unpacked kernel package."""

    root: Path

    @property
    def release(self):
        """What `uname -r` will say."""
        return self.file.name.removeprefix("vmlinuz-")

    @property
    def file(self):
        (found,) = (self.root / "boot").glob("vmlinuz-*")
        return found


@dataclass(frozen=True)
class Outcome:
    """What a guest left behind."""

    release: str
    passed: list[str]
    skipped: dict[str, str]
    """Message by test."""
    failed: dict[str, str]
    console: str
    """The last lines that it printed."""


@pytest.fixture(scope="session")
def boot(tmp_path_factory, pytestconfig):
    """Call it with a `Kernel`: runs the plugins' kernel tests there, once per kernel and session."""
    outcomes = {}

    def boot(kernel):
        if kernel not in outcomes:
            _check_machine()
            results = tmp_path_factory.mktemp("guest")
            console = _run(_image(kernel), results)
            outcomes[kernel] = outcome = _outcome(results, console)
            pytestconfig.stash[_summaries].append(_line(kernel, outcome))
        return outcomes[kernel]

    return boot


def pytest_configure(config):
    config.stash[_summaries] = []


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(_summaries, ()):
        terminalreporter.write_line(line)


def _line(kernel, outcome):
    counts = {"passed": outcome.passed, "failed": outcome.failed, "skipped": outcome.skipped}
    told = ", ".join(f"{len(tests)} {word}" for word, tests in counts.items() if tests) or "no result came back"
    return f"vm {outcome.release or kernel.series}: {told}"


def _check_machine():
    if plugin.policy() == "off":
        # Asked for by name; continuous integration asks for `require`.
        pytest.skip("kernel tests are off (OBI_KERNEL=off)")
    if platform.machine() != "x86_64":
        _lack(f"the guests are x86_64, this machine is {platform.machine()}")
    if os.geteuid() != 0:
        _lack("root is needed: the guest reads this machine's files")
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            _lack(f"no {program}: install the package {package}")
    if not _virtme().is_file():
        _lack("no virtme-run in the virtual environment: run make setup")


def _lack(sentence):
    if plugin.policy() == "require":
        pytest.fail(f"{sentence} (OBI_KERNEL=require)", pytrace=False)
    # Not under `require`, see above: a stranger's machine, told what is missing.
    pytest.skip(sentence)


def _virtme():
    return Path(sys.executable).with_name("virtme-run")


def _image(kernel):
    """Give the kernel, fetched if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "obi" / "kernels"
    kept = sorted(cache.glob(f"{kernel.series}.*"), key=lambda path: path.stat().st_mtime)
    if kept:
        return Image(kept[-1])
    unfinished = cache / f".{kernel.series}-{os.getpid()}"
    unfinished.mkdir(parents=True)
    try:
        package = _download(kernel, unfinished)
        _unpack(package, unfinished)
        return Image(unfinished.rename(cache / package.name.partition("_")[0].removeprefix("linux-image-")))
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _package(kernel):
    """Name the package of the kernel itself that Debian's meta package now depends on; empty if there is none."""
    shown = _apt("apt-cache", "show", "--no-all-versions", kernel.package)
    found = re.search(rf"^Depends: .*?(linux-image-{re.escape(kernel.series)}\.\S+)", shown, re.MULTILINE)
    return found[1] if found else ""


def _download(kernel, folder):
    for lists in ("as they are", "fetched again"):  # they may be missing, or name a version that is no longer there
        if lists == "fetched again":
            _apt("apt-get", "update")
        if package := _package(kernel):
            _apt("apt-get", "download", package, "-o", "APT::Sandbox::User=root", cwd=folder)
        if found := list(folder.glob("*.deb")):
            return found[0]
    return _lack(f"apt has no kernel {kernel.series} to download by the name of {kernel.package}")


def _apt(*command, cwd=None):
    done = subprocess.run([*command, "-qq"], cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    return done.stdout


def _unpack(package, folder):
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as archive:
        needless = [f"--exclude=./lib/modules/*/kernel/{part}" for part in _NEEDLESS]
        subprocess.run(["tar", "-x", "-C", folder, *needless, "./boot", "./lib"], stdin=archive.stdout, check=True)
    package.unlink()


def _run(image, results):
    """Boot, run `guest.sh`, power off; give what the guest printed. No emulator is left when this returns."""
    chosen = "plugins" if os.environ.get("OBI_GUEST") == "full" else f"-k '{_QUICK}' plugins"
    script = [_GUEST, _TREE, sys.executable, results, _GUEST_S, chosen]
    shared = "local,id=obi,path=/,security_model=none,readonly=on,multidevs=remap"
    command = [
        _virtme(), "--kimg", image.file, "--mods", "auto", "--disable-kvm", "--force-9p", "--memory", "1G", "--cpus", "2",
        "--show-boot-console", "--verbose", "--kopt", "mitigations=off", "--rwdir", results,
        "--qemu-opt=-fsdev", f"--qemu-opt={shared}", "--qemu-opt=-device", "--qemu-opt=virtio-9p-pci,fsdev=obi,mount_tag=obi",
        "--script-sh", " ".join(map(str, script)),
    ]  # fmt: skip
    log = results / "console"
    with log.open("wb") as console:
        guest = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
        )
        try:
            guest.wait(_GUEST_S + _BOOT_S)
        except subprocess.TimeoutExpired:
            console.write(b"\nthe guest was stopped: it took too long\n")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(guest.pid, signal.SIGKILL)  # the emulator is a child of virtme-run's, in its session
            guest.wait()
    return log.read_text(errors="replace")


def _outcome(results, console):
    release, junit = results / "release", results / "junit.xml"
    passed, skipped, failed = [], {}, {}
    # What pytest wrote in the guest is ours.
    for case in ET.parse(junit).iter("testcase") if junit.is_file() else ():  # noqa: S314 - see above
        name = f"{case.get('classname')}::{case.get('name')}"
        bad = next((part for part in case if part.tag in {"failure", "error"}), None)
        left_out = case.find("skipped")
        if bad is not None:
            failed[name] = f"{bad.get('message')}\n{bad.text}"
        elif left_out is not None:
            skipped[name] = left_out.get("message")
        else:
            passed.append(name)
    lines = [line for line in console.splitlines() if line.strip()]
    return Outcome(release.read_text().strip() if release.is_file() else "", passed, skipped, failed, "\n".join(lines[-40:]))
