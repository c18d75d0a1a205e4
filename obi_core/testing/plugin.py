"""The pytest plugin: the marker `kernel` and what `OBI_KERNEL` makes of it.

`@pytest.mark.kernel(needs=("cap:bpf", "btf"), since="5.8")` marks a test that runs on a real kernel.

=========== ===========================================================================================
OBI_KERNEL
=========== ===========================================================================================
`off`       kernel tests are skipped
`auto`      a test whose needs are not met is skipped, and the missing item named (the default)
`require`   it fails instead
=========== ===========================================================================================

`OBI_DOCTOR` names a file with what `obi doctor --json` found here: tests of refused modes are skipped with the code.
`OBI_PATIENCE` times the time that a step may take, for machines that are emulated (1 by default).
With `since`, a test that would be skipped on a kernel as new or newer fails too: there, the need should be met.
Needs are those of a mode (`cap:bpf`, `btf`, `tracefs`, `cgroup2`, `tp:category/event`), `root`, and `cmd:program`.
"""

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from obi_core.host import Host

POLICIES: Final = ("off", "auto", "require")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker and check the variable."""
    config.addinivalue_line("markers", "kernel(needs=(), since=None): runs on a real kernel; see OBI_KERNEL=off|auto|require")
    config.addinivalue_line(
        "markers", "compiled(only=False): holds in a mode that BCC compiles too; see obi_core.testing.modes"
    )
    if policy() not in POLICIES:
        raise pytest.UsageError(f"OBI_KERNEL={policy()}: must be one of {', '.join(POLICIES)}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail a kernel test whose needs are not met."""
    for mark in item.iter_markers("kernel"):
        if policy() == "off":
            # Asked for by name; continuous integration asks for `require`.
            pytest.skip("kernel tests are off (OBI_KERNEL=off)")  # somebody asked for it
        doctor = os.environ.get("OBI_DOCTOR")
        if doctor and (refusal := refused_here(item, doctor)):
            # Not under `require` either: the matrix of kernels asks what each of them offers, and names the code.
            pytest.skip(refusal)  # a row of the matrix, with its code
        from obi_core.host import Host  # every pytest of this environment loads this plugin

        host = Host()
        if lacks := missing(tuple(mark.kwargs.get("needs", ())), host):
            since: str | None = mark.kwargs.get("since")
            if since and version(host.release()) >= version(since):
                pytest.fail(f"{lacks} (a kernel since {since} should have it, this is {host.release()})", pytrace=False)
            if policy() == "require":
                pytest.fail(f"{lacks} (OBI_KERNEL=require)", pytrace=False)
            # `auto`, a stranger's machine: the sentence names what is missing.
            pytest.skip(lacks)  # never under `require`, which has failed above


def refused_here(item: pytest.Item, doctor: str) -> str:
    """Why the mode that a test is for is refused on this kernel, by what the doctor found there; empty if it is not.

    Args:
        item: A test; one of a mode has it among its parameters.
        doctor: File with the document of `obi doctor --json`.
    """
    from obi_core.model import Mode  # as above

    callspec = getattr(item, "callspec", None)
    modes = {value.name for value in callspec.params.values() if isinstance(value, Mode)} if callspec else set()
    parts = item.path.parts
    if not modes or "plugins" not in parts:
        return ""
    name = parts[parts.index("plugins") + 1]
    for probe in json.loads(Path(doctor).read_text())["probes"]:
        for mode in probe["modes"] if probe["name"] == name else ():
            if mode["name"] in modes and not mode["ok"]:
                return f"{mode['reason']}: mode {mode['name']} is refused here"
    return ""


def refused_programs(probe: str) -> frozenset[str]:
    """Optional programs that this kernel refuses, by what the doctor found there (`OBI_DOCTOR`); none if nobody asked it.

    Not those that BCC leaves out (`no_btf`): they are another loader's to load.
    """
    doctor = os.environ.get("OBI_DOCTOR")
    found = json.loads(Path(doctor).read_text())["probes"] if doctor else []
    modes = [mode for entry in found if entry["name"] == probe for mode in entry["modes"]]
    return frozenset(refused["program"] for mode in modes for refused in mode["refused"] if refused["reason"] != "no_btf")


def policy() -> str:
    """The policy asked for in the environment."""
    return os.environ.get("OBI_KERNEL") or "auto"


def patience() -> float:
    """How many times slower this machine may be than one that keeps the deadlines."""
    return float(os.environ.get("OBI_PATIENCE") or 1)


def missing(needs: Sequence[str], host: "Host") -> str:
    """Name what this machine lacks, empty if nothing."""
    from obi_core.kernel import trial  # as above

    lacks: list[str] = []
    for need in needs:
        kind, _, what = need.partition(":")
        if kind == "cmd":
            if shutil.which(what) is None:
                lacks.append(f"program {what} is not installed")
        elif need == "root":
            if os.geteuid() != 0:
                lacks.append("root is needed")
        else:
            lacks += [f"{unmet.need} is missing: {unmet.remedy}" for unmet in trial.unmet((need,), host)]
    return "; ".join(lacks)


def version(release: str) -> tuple[int, ...]:
    """Read the numbers at the start of a kernel release: (6, 1, 0) of `6.1.0-18-amd64`."""
    found = re.match(r"\d+(?:\.\d+)*", release)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
