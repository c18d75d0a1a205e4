"""A node that is chosen is told from others, however a store labels the series of an agent: by `promtool test rules`."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "dashboards"
STORES = {
    "Mimir, Cortex or Prometheus: a resource is no label": 'job="obi",instance="id-of-{node}"',
    "the same, with promoted attributes": 'job="obi",instance="id-of-{node}",k8s_cluster_name="c",k8s_node_name="{node}"',
    "a scrape, with the labels of its target": 'job="obi",instance="{node}:9090",namespace="mop-system",pod="obi-{node}"',
    "VictoriaMetrics: a resource is labels": (
        'service_name="obi",service_instance_id="id-of-{node}",k8s_cluster_name="c",k8s_node_name="{node}",host_name="{node}"'
    ),
}
"""Labels of every series of one agent."""
GROWTH = {"n1": 60, "n2": 6000}
"""Added per minute."""


def expression(board, title, chosen):
    panels = json.loads((FOLDER / f"{board}.json").read_text())["panels"]
    (text,) = [panel["targets"][0]["expr"] for panel in panels if panel["title"] == title]
    values = {
        "$__rate_interval": "5m",
        "$cluster": "c",
        "$node": chosen,
        "$namespace": ".*",
        "${workload:raw}": 'k8s_deployment_name="web"',
    }
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def check(tmp_path, store, expected, text):
    series = []
    for node, step in GROWTH.items():
        agent = STORES[store].format(node=node)
        info = f'{agent},k8s_cluster_name="c",k8s_node_name="{node}"' if "k8s_node_name" not in agent else agent
        who = 'process_executable_name="curl",k8s_deployment_name="{}",network_io_direction="transmit"'
        series += [
            {"series": f"obi_node_info{{{info}}}", "values": "1x20"},
            {"series": f"obi_tcp_io_bytes_total{{{agent},{who.format('web')}}}", "values": f"0+{step}x20"},
            {"series": f"obi_tcp_io_bytes_total{{{agent},{who.format('other')}}}", "values": "0+77x20"},
            {"series": f'obi_probe_degraded{{{agent},probe="tcp"}}', "values": f"{step}x20"},
        ]
    sample = {"expr": text, "eval_time": "15m", "exp_samples": [{"labels": key, "value": n} for key, n in expected.items()]}
    file = tmp_path / "test.yaml"
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [sample]}
    file.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(("chosen", "rate"), [("n1", 1), ("n2", 100), (".*", 101)])
def test_a_rate_is_of_the_chosen_nodes_and_workload_alone(tmp_path, store, chosen, rate):
    labels = '{process_executable_name="curl", network_io_direction="transmit"}'
    check(tmp_path, store, {labels: rate}, expression("obi-tcp", "Who moves the most data?", chosen))


@pytest.mark.parametrize("store", STORES)
def test_what_is_shown_by_node_has_each_nodes_name(tmp_path, store):
    expected = {f'{{k8s_node_name="{node}", probe="tcp"}}': step for node, step in GROWTH.items()}
    check(tmp_path, store, expected, expression("obi-health", "Where does a probe give less than it could?", ".*"))
