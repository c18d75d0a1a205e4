"""What the agent says of itself."""

import logging
import platform
from pathlib import Path

import pytest

from obi_core.host import Host
from obi_core.identity import resource_attributes
from obi_core.settings import CoreSettings, load_settings

HYBRID = Host(proc=Path(__file__).parents[1] / "fixtures/proc/hybrid")


@pytest.fixture
def etc(tmp_path):
    (tmp_path / "machine-id").write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    return tmp_path


def describe(etc, environ=(), settings=None):
    return resource_attributes(settings or CoreSettings(), HYBRID, dict(environ), etc=etc)


def test_the_fixed_attributes_are_there(etc, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    found = dict(describe(etc))
    assert len(found.pop("service.instance.id")) == 36
    found.pop("service.version", None)
    assert found == {
        "app": "obi",
        "host.arch": "arm64",
        "host.id": "3d1219c7c4c5404aaa1f6d2a48adfda4",
        "host.name": "node-1",
        "os.type": "linux",
        "os.version": "6.18.44",
        "service.name": "obi",
        "telemetry.distro.name": "obi",
    }


def test_the_instance_is_the_same_after_a_restart_and_another_beside_it(etc):
    one, again = describe(etc), describe(etc)
    beside = describe(etc, settings=load_settings(None, {"OBI_HTTP__LISTEN": "127.0.0.1:8081"}, {}).core)
    assert one["service.instance.id"] == again["service.instance.id"]
    assert one["service.instance.id"] != beside["service.instance.id"]


def test_without_a_machine_id_every_start_is_an_instance(tmp_path):
    one, again = describe(tmp_path), describe(tmp_path)
    assert "host.id" not in one
    assert one["service.instance.id"] != again["service.instance.id"]


def test_settings_win_over_the_variable_and_the_variable_over_what_is_found(etc):
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "k8s.node.name=a%2Cb, host.name=var,os.type=other"}
    settings = load_settings(None, {"OBI_RESOURCE__ATTRIBUTES": "host.name=set"}, {}).core
    found = describe(etc, environ, settings)
    assert (found["k8s.node.name"], found["host.name"], found["os.type"]) == ("a,b", "set", "other")


def test_a_malformed_variable_is_ignored_as_a_whole_and_said(etc, caplog):
    with caplog.at_level(logging.WARNING):
        found = describe(etc, {"OTEL_RESOURCE_ATTRIBUTES": "a=b,nonsense"})
    assert "a" not in found
    assert caplog.messages == ["OTEL_RESOURCE_ATTRIBUTES is ignored: it must be key=value pairs separated by commas"]
