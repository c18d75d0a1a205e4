"""What the sinks' keeper says of itself: where the agent is."""

import pytest

from obi_core.runtime.outputs import Outputs
from obi_core.settings import CoreSettings


def where(resource, **later):
    outputs = Outputs((), CoreSettings(), resource)
    if later:
        outputs.follow((), CoreSettings(), {name.replace("_", "."): value for name, value in later.items()})
    (metric,) = outputs.own()
    (point,) = metric.points
    assert (metric.instrument.name, point.value) == ("obi_node_info", 1)
    return {name: value for name, value in point.attributes if value}


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ({"host.name": "h"}, {"host.name": "h", "k8s.node.name": "h"}),
        ({"host.name": "pod-1", "k8s.node.name": "n"}, {"host.name": "pod-1", "k8s.node.name": "n"}),
        (
            {"host.name": "h", "k8s.cluster.name": "c", "k8s.pod.name": "not said"},
            {"host.name": "h", "k8s.node.name": "h", "k8s.cluster.name": "c"},
        ),
        ({}, {}),
    ],
)
def test_the_node_is_called_as_kubernetes_does_or_as_the_host_is(resource, expected):
    assert where(resource) == expected


def test_a_changed_resource_is_said_at_once():
    assert where({"host.name": "h"}, host_name="h", k8s_cluster_name="c")["k8s.cluster.name"] == "c"
