"""Runs a test of a plugin once per mode that has programs: in one that BCC compiles only if the test says so.

A mode that is compiled on the node reads no kernel struct, so much of what a probe promises is beyond it.
`@pytest.mark.compiled` marks the tests that hold there too, `@pytest.mark.compiled(only=True)` those that hold nowhere else.
"""

import pytest

from obi_core.kernel.loaders import COMPILED_HERE
from obi_core.probe import Probe

__all__ = ["in_modes_with_bpf"]


def in_modes_with_bpf(metafunc: pytest.Metafunc, probe: type[Probe]) -> None:
    """Give a test that takes `mode`, itself or through a fixture, each that it is for; of `pytest_generate_tests`.

    Those of the contract suite, and any that is parametrised by `mode` itself, have theirs.
    """
    itself = any(mark.args[0] == "mode" for mark in metafunc.definition.iter_markers("parametrize"))
    if "mode" not in metafunc.fixturenames or itself or hasattr(metafunc.cls, "probe"):
        return
    mark = metafunc.definition.get_closest_marker("compiled")
    only = mark is not None and mark.kwargs.get("only", False)
    wanted = [
        pytest.param(mode, id=mode.name, marks=pytest.mark.kernel(needs=mode.needs))
        for mode in probe.modes
        if mode.programs and (mark is not None if COMPILED_HERE in mode.needs else not only)
    ]
    metafunc.parametrize("mode", wanted)
