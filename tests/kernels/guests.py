"""Boots other kernels: Debian's packages under QEMU through virtme-ng, with this machine's files shared into the guest.

Each comes from the suite that has it: a list of its own is fetched for a suite that is not this machine's. A kernel is
fetched once and kept under ~/.cache/obi/kernels (XDG_CACHE_HOME), one folder per package, never in /boot or /lib/modules:
`rm -r` it to fetch a newer one.
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

import outcomes

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
_EXACT = "exactly or each_way or again_counts or round_trip_times_are_counted or 32_bit_calls or cause_of_is_the_systems"
QUICK = f"({_EXACT} or every_mode_works) and not bcc"
"""What `make test` runs of the plugins' kernel tests: each outcome, each signal, nothing left behind."""
_COMPILED = (
    "every_mode_works or datagrams_are_counted or equals_the_devices or calls_errors_and or connects_are_counted"
    " or descriptors or oom_kill"
)
MATRIX = (
    f"({_EXACT} or on_this_kernel or equal_the_device or equals_the_devices or what_strace_counts"
    " or of_many_fragments or though) and not (full_maps or any_order or a_refused_program or without_a_program"
    f" or (bcc and not ({_COMPILED})))"
)
"""What a row of the table stands on: the contract suite and the exact counts of every probe, in every mode.

Of the suite not what shuffles, measures or breaks our own code; and of the mode that is compiled, which takes an emulated
kernel 10 s each time, that it works and one exact count of each kind. All of it runs on this machine's own kernel, in
`make test`.
"""
ALL = ""
_GUEST_S, _BOOT_S = 2400, 120
"""How long the guest's tests may take, and how long it may take beside them. Emulation is slow, and a busy machine slower."""
_NEEDLESS = ("drivers/gpu", "drivers/media", "drivers/net/ethernet", "drivers/net/wireless", "drivers/infiniband", "sound")
"""Modules that no guest has hardware for: half of the package."""


class LackError(Exception):
    """This machine lacks something; the sentence says what."""


@dataclass(frozen=True)
class Kernel:
    """One row of the matrix."""

    series: str
    suite: str
    """Debian suite that has it; empty: this machine's own lists."""
    package: str = "linux-image-amd64"
    """Meta package, which depends on the newest kernel of the series."""


KERNELS = (
    Kernel("5.10", "bullseye"),
    Kernel("6.1", ""),
    Kernel("6.12", "trixie"),
    Kernel("7", "sid"),
)
"""The matrix, beside this machine's own kernel. The last one is whatever is newest."""


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


def boot(kernel, results, chosen, *, doctor):
    """Run the plugins' kernel tests on a kernel.

    Args:
        kernel: A row of `KERNELS`.
        results: Folder for what the guest leaves behind, and its console.
        chosen: Expression for pytest's `-k`; empty: all.
        doctor: `yes`: it looks at the kernel first, which takes minutes, and tests of modes that it refuses are left out;
            `kept`: what it found is in `results`; `no`: nobody asks it.

    Raises:
        LackError: This machine cannot.
    """
    check_machine()
    words = f"-k '{chosen}' plugins" if chosen else "plugins"
    return outcomes.outcome(results, _run(_image(kernel), results, f"{doctor} {words}"))


def check_machine():
    """See that everything is there to boot a guest.

    Raises:
        LackError: Something is not; the sentence names it.
    """
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
    raise LackError(sentence)


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
        image, *parts = _download(kernel, unfinished)
        release = image.name.partition("_")[0].removeprefix("linux-image-")
        for package in (image, *parts):
            _unpack(package, unfinished)
        shutil.rmtree(unfinished / "apt", ignore_errors=True)
        _arrange(unfinished, release)
        return Image(unfinished.rename(cache / release))
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _arrange(root, release):
    """Have the kernel in boot and its modules in lib, where packages before trixie's have them."""
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")
    kernel = root / "boot" / f"vmlinuz-{release}"
    if not kernel.exists():
        (found,) = [path for path in root.rglob("vmlinuz*") if path.is_file()]
        kernel.parent.mkdir(exist_ok=True)
        shutil.copy(found, kernel)


def _mirror():
    """Where this machine's own apt has Debian from: any suite is there too."""
    shown = _apt("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian").split()
    return shown[0] if shown else _lack("apt knows no Debian to fetch kernels from: add one to /etc/apt/sources.list")


def _lists(kernel, folder):
    """Options that make apt look at one suite only, with lists of its own; none for this machine's suite."""
    if not kernel.suite:
        return []
    state = folder / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "sources.list").write_text(f"deb {_mirror()} {kernel.suite} main\n")
    places = {
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state / "cache",
        "Acquire::Languages": "none",
    }
    return [word for name, value in places.items() for word in ("-o", f"{name}={value}")]


def _package(kernel, options):
    """Name the package of the kernel itself that Debian's meta package now depends on; empty if there is none."""
    shown = _apt("apt-cache", *options, "show", "--no-all-versions", kernel.package)
    found = re.search(rf"^Depends: .*?(linux-image-{re.escape(kernel.series)}\.\S+)", shown, re.MULTILINE)
    return found[1] if found else ""


def _download(kernel, folder):
    """Give the package of the image, then those that hold the rest of it, where Debian has split it (since forky)."""
    options = _lists(kernel, folder)
    for lists in ("as they are", "fetched again"):  # they may be missing, or name a version that is no longer there
        if lists == "fetched again":
            _apt("apt-get", *options, "update")
        if package := _package(kernel, options):
            shown = _apt("apt-cache", *options, "show", "--no-all-versions", package)
            parts = sorted(set(re.findall(rf"linux-(?:binary|modules)-{re.escape(kernel.series)}\.[^\s,]+", shown)))
            _apt("apt-get", *options, "download", package, *parts, "-o", "APT::Sandbox::User=root", cwd=folder)
        if found := list(folder.glob("*.deb")):
            return sorted(found, key=lambda path: (not path.name.startswith("linux-image-"), path.name))
    suite = kernel.suite or "this machine's suite"
    return _lack(f"apt has no kernel {kernel.series} to download by the name of {kernel.package} from {suite}")


def _apt(*command, cwd=None):
    done = subprocess.run([*command, "-qq"], cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    return done.stdout


def _unpack(package, folder):
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as archive:
        needless = [f"--exclude=./{usr}lib/modules/*/kernel/{part}" for part in _NEEDLESS for usr in ("", "usr/")]
        subprocess.run(["tar", "-x", "-C", folder, *needless, "--exclude=./usr/share"], stdin=archive.stdout, check=True)
    package.unlink()


def _run(image, results, chosen):
    """Boot, run `guest.sh`, power off; give what the guest printed. No emulator is left when this returns."""
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
