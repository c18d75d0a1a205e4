"""Labels of this node: what is known stays while the API is away, what never came is asked for again."""

import logging

import pytest

from obi_core.runtime.node_labels import NodeLabels
from obi_core.settings import KubernetesSettings
from obi_core.testing.fakes import FakeClock
from obi_core.testing.kube import KubeApi, until


@pytest.fixture
def api():
    server = KubeApi()
    server.objects["/api/v1/nodes/n1"] = {"one": {"metadata": {"labels": {"accelerator": "nvidia"}}}}
    yield server
    server.close()


@pytest.fixture
def settings(api):
    return KubernetesSettings(api=api.url, node="n1")


def test_a_reload_while_the_api_is_away_keeps_the_labels_and_so_the_pool(api, settings, caplog):
    labels = NodeLabels({})
    assert labels(settings) == {"accelerator": "nvidia"}
    api.faults["get"] = [500]
    assert labels(settings) == {"accelerator": "nvidia"}
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "so its pool stays as it is" in record.getMessage()
    assert not labels.came()


def test_labels_that_never_came_are_asked_for_every_half_minute_until_they_do(api, settings):
    clock = FakeClock()
    labels = NodeLabels({}, clock)
    api.faults["get"] = [403, "hang_up"]
    assert labels(settings) == {}
    assert not labels.came()
    assert len(api.asked("get")) == 1, "not at once"
    clock.advance(31)
    assert not labels.came()
    api.asked("get", 2)
    until(lambda: not labels._asking.is_alive())
    assert not labels.came(), "the second answer was none either"
    clock.advance(31)
    until(labels.came)
    assert labels(settings) == {"accelerator": "nvidia"}
    clock.advance(31)
    assert not labels.came()
    assert len(api.asked("get")) == 4


def test_outside_a_cluster_there_are_no_labels_and_nobody_asks():
    labels = NodeLabels({})
    assert labels(KubernetesSettings()) == {}
    assert not labels.came()
