"""Shared by the kernel tests: the fixtures verbs and limits, built, both loaders, and kernel headers for BCC."""

import ctypes
import importlib
import importlib.util
import os
import platform
import shutil
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import pytest

from obi_core import hatch
from obi_core.host import Host
from obi_core.kernel.bcc import BccLoader
from obi_core.kernel.libbpf import LibbpfLoader
from obi_core.model import LoadPlan, Mode, Program
from obi_core.testing import plugin

_FIXTURES = Path(__file__).parents[1] / "fixtures"
_GETPPID = {"x86_64": 110, "aarch64": 173}[platform.machine()]
"""Nobody else calls it, and it ignores what we pass."""


class Verbs:
    """`tests/fixtures/verbs`, built into a package, and the workload that it counts."""

    package = "verbs_fixture"
    number = _GETPPID
    mode = Mode("both", (Program("verbs_enter"), Program("verbs_exit")))
    calls = 97
    durations = (1, 1_000, 1_500, 1_000_000, 1_000_000_000)

    def __init__(self, folder):
        self.folder = folder
        _build("verbs", folder / self.package)

    @property
    def by_duration(self):
        """How often each duration comes up when `calls` calls go round."""
        return dict(zip(self.durations, (20, 20, 19, 19, 19), strict=True))

    def plan(self, *, live=1, constants=None, **entries):
        ours = {"verbs_tgid": os.getpid(), "verbs_call": _GETPPID}
        return LoadPlan(ours | (constants or {}), {"verbs_records_on": live}, entries)

    def call(self, durations, count=calls):
        _call(islice(cycle(durations), count))

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


class Limits:
    """`tests/fixtures/limits`, built into a package; each of its programs is a mode of its own."""

    package = "limits_fixture"
    sums = ("calls", "kept", "weight", "passed")
    places = ("token", "key", "record")

    def __init__(self, folder):
        self.folder = folder
        _build("limits", folder / self.package)
        shutil.copy(_FIXTURES / "limits" / "probe.py", folder / self.package)

    @property
    def probe(self):
        """`probe.py` of the fixture: a plugin."""
        return importlib.import_module(f"{self.package}.probe")

    def settings(self, **fields):
        """Settings of the probe for this process."""
        return self.probe.LimitsSettings(tgid=os.getpid(), call=_GETPPID, **fields)

    def call(self, keys):
        """Make one call with each key."""
        _call(keys)

    @contextmanager
    def running(self, loader, program, *, seed=0, entries=None, **live):
        """Load and attach one program; `live` without its prefix."""
        constants = {"limits_tgid": os.getpid(), "limits_call": _GETPPID, "obi_sample_seed": seed}
        plan = LoadPlan(constants, {f"limits_{name}": value for name, value in live.items()}, entries or {})
        mode = Mode(program, (Program(f"limits_{program}"),))
        with loader.load(self.package, "limits", mode, plan) as loaded:
            loaded.attach(f"limits_{program}")
            yield loaded

    def summed(self, loaded):
        """`enum limits_sum`, by name."""
        return dict(zip(self.sums, dict(loaded.rows("limits_sums")).values(), strict=True))

    def lost(self, loaded):
        """`enum limits_place`, by name."""
        return dict(zip(self.places, dict(loaded.rows("limits_lost")).values(), strict=True))


def _call(arguments):
    syscall, number = ctypes.CDLL(None).syscall, ctypes.c_long(_GETPPID)
    for argument in arguments:
        syscall(number, ctypes.c_ulong(argument))


def _build(name, package):
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(_FIXTURES / name / f"{name}.bpf.c", package)
    hatch.build([package])


@contextmanager
def _importable(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.invalidate_caches()
        yield


@pytest.fixture(scope="session")
def verbs(tmp_path_factory):
    made = Verbs(tmp_path_factory.mktemp("verbs"))
    with _importable(made.folder):
        yield made


@pytest.fixture(scope="session")
def limits(tmp_path_factory):
    made = Limits(tmp_path_factory.mktemp("limits"))
    with _importable(made.folder):
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


@pytest.fixture(params=["libbpf", "bcc"])
def loader(request):
    """Each of the two loaders."""
    return request.getfixturevalue("bcc_loader")() if request.param == "bcc" else LibbpfLoader(Host())


def _lack(sentence):
    if plugin.policy() == "require":
        pytest.fail(f"{sentence} (OBI_KERNEL=require)", pytrace=False)
    # Not under `require`, see above: a stranger's machine, told what is missing.
    pytest.skip(sentence)
