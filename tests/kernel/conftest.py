"""Shared by the kernel tests: the verbs fixture, built, and kernel headers for BCC."""

import ctypes
import importlib
import importlib.util
import os
import platform
import shutil
from itertools import cycle, islice
from pathlib import Path

import pytest

from obi_core import hatch
from obi_core.host import Host
from obi_core.kernel.bcc import BccLoader
from obi_core.model import LoadPlan, Mode, Program
from obi_core.testing import plugin

_SOURCE = Path(__file__).parents[1] / "fixtures" / "verbs" / "verbs.bpf.c"


class Verbs:
    """`tests/fixtures/verbs`, built into a package, and the workload that it counts."""

    package = "verbs_fixture"
    mode = Mode("both", (Program("verbs_enter"), Program("verbs_exit")))
    number = {"x86_64": 110, "aarch64": 173}[platform.machine()]
    """getppid: nobody else calls it, and it ignores what we pass as a duration."""
    calls = 97
    durations = (1, 1_000, 1_500, 1_000_000, 1_000_000_000)

    def __init__(self, folder):
        self.folder = folder
        package = folder / self.package
        package.mkdir()
        shutil.copy(_SOURCE, package)
        hatch.build([package])

    @property
    def by_duration(self):
        """How often each duration comes up when `calls` calls go round."""
        return dict(zip(self.durations, (20, 20, 19, 19, 19), strict=True))

    def plan(self, *, live=1, constants=None, **entries):
        ours = {"verbs_tgid": os.getpid(), "verbs_call": self.number}
        return LoadPlan(ours | (constants or {}), {"verbs_records_on": live}, entries)

    def call(self, durations, count=calls):
        syscall = ctypes.CDLL(None).syscall
        for duration in islice(cycle(durations), count):
            syscall(ctypes.c_long(self.number), ctypes.c_ulong(duration))

    def run(self, loaded, count=calls):
        for program in self.mode.programs:
            loaded.attach(program.name)
        self.call(self.durations, count)
        for program in self.mode.programs:
            loaded.detach(program.name)

    def outcomes(self, loaded):
        """`enum verbs_outcome`, by name."""
        names = ("started", "taken", "taken twice", "inserted", "present", "deleted", "absent", "full", "lost")
        rows = dict(loaded.rows("verbs_outcomes"))
        return {name: rows[number] for number, name in enumerate(names)}


@pytest.fixture(scope="session")
def verbs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verbs")
    made = Verbs(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.invalidate_caches()
        yield made


@pytest.fixture(scope="session")
def split_headers():
    """Kernel headers as Debian splits them: (source, build)."""
    for release in sorted(Path("/lib/modules").iterdir()):
        source, build = release / "source", release / "build"
        if (source / "include/linux/kconfig.h").is_file() and (build / "include/generated").is_dir():
            return source.resolve(), build.resolve()
    return _lack("no kernel headers of any release: install the package linux-headers-amd64")


@pytest.fixture(scope="session")
def headers(split_headers, tmp_path_factory):
    """The same as one tree, as BCC_KERNEL_SOURCE wants it; the running kernel need not be theirs."""
    if importlib.util.find_spec("bcc") is None:
        _lack("no BCC: install the package python3-bpfcc")
    merged = tmp_path_factory.mktemp("headers")
    arch = {"x86_64": "x86", "aarch64": "arm64"}[platform.machine()]
    for part in ("include", f"arch/{arch}/include"):
        (merged / part).mkdir(parents=True)
        for child in (child for side in split_headers for child in (side / part).iterdir()):
            (merged / part / child.name).symlink_to(child)
    return merged


@pytest.fixture
def bcc_loader(headers):
    def make(**options):
        return BccLoader(Host(), environ={**os.environ, "BCC_KERNEL_SOURCE": str(headers)}, **options)

    return make


def _lack(sentence):
    if plugin.policy() == "require":
        pytest.fail(f"{sentence} (OBI_KERNEL=require)", pytrace=False)
    pytest.skip(sentence)
