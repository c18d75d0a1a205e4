"""`obi_core` costs nothing until a name of it is used."""

import subprocess
import sys

import pytest

import obi_core


def modules_after(code):
    """Names of the modules that a fresh interpreter has after `code`."""
    script = f"{code}\nimport sys\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_obi_core_alone_imports_nothing_heavy():
    bare = modules_after("import importlib, typing")
    assert modules_after("import obi_core") - bare == {"obi_core"}


def test_importing_a_value_type_brings_no_settings_and_no_hooks():
    loaded = modules_after("from obi_core import Instrument, Kind, Observation, owner")
    assert not {"pydantic", "pluggy", "yaml", "ctypes"} & loaded


def test_what_a_plugin_needs_brings_no_exporter_and_no_kernel_tool():
    loaded = modules_after("from obi_core import Probe, ProbeSettings, hookimpl")
    assert not {"grpc", "pyroute2", "bcc", "opentelemetry", "prometheus_client", "rich"} & loaded


@pytest.mark.parametrize("name", obi_core.__all__)
def test_every_public_name_is_there(name):
    assert getattr(obi_core, name) is not None


def test_the_public_names_are_sorted_and_complete():
    assert obi_core.__all__ == sorted(obi_core.__all__)
    assert dir(obi_core) == obi_core.__all__
    homes = [name for names in obi_core._HOMES.values() for name in names]
    assert sorted([*homes, "__version__"]) == obi_core.__all__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'obi_core' has no attribute 'Prob'"):
        obi_core.__getattr__("Prob")
