"""The validation scripts are green against stores that have all, and red for the right reason where one thing is gone."""

import subprocess

import pytest
from proving import answers, fetch, free_ports, script, send, until, victoria

pytestmark = [
    pytest.mark.timeout(170),  # the first test brings everything up
    pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf")),
]
SCRIPTS = ("metrics", "traces", "logs")


@pytest.mark.parametrize("signal", SCRIPTS)
def test_a_store_that_has_all_is_green(live, signal):
    ran = script(f"validate-{signal}.sh", "--wait", "60s", "--json", **live.urls)
    assert (ran.status, ran.err) == (0, ""), ran.out
    assert ran.document["result"] == "ok"
    assert ran.failed == []


def test_without_json_each_check_is_a_line(live):
    ran = script("validate-logs.sh", "--wait", "60s", **live.urls)
    assert (ran.status, ran.err) == (0, "")
    *checks, last = ran.out.splitlines()
    assert {line[:6] for line in checks} == {"ok    "}
    assert last == f"validate-logs.sh: {len(checks)} checks, 0 failed"
    assert len(checks) == 9


@pytest.mark.parametrize(
    ("gone", "failed"),
    [
        ("obi_network_packets_total", {"metric": "obi_network_packets_total: not there"}),
        ("obi_limits_oom_kills_total", {"metric": "obi_limits_oom_kills_total: not there"}),
        ("otlp_exporter_sent_items_total", {"metric": "otlp_exporter_sent_items_total: not there"}),
        ('obi_probe_state{probe="tcp"}', {"probe": "tcp: no state of it is there"}),
        ("obi_syscall_duration_seconds_bucket", {"histogram": "obi_syscall_duration_seconds: a count without buckets"}),
        (
            '{__name__=~"obi_network_packets.*",process_executable_name!=""}',
            {"label": "process_executable_name is on no series of obi_network_packets_total"},
        ),
    ],
)
def test_metrics_that_are_gone_are_named(kept, gone, failed):
    with kept(without=gone) as url:
        flags = ("--json", "--window", "1h", "--probes", "limits,network,syscall,tcp")
        ran = script("validate-metrics.sh", *flags, OBI_METRICS_URL=url)
    assert ran.status == 1, ran.err
    found = dict(ran.failed)
    assert failed.items() <= found.items()
    assert set(found) <= {*failed, "label"}


def test_what_was_kept_is_green_as_long_as_nothing_is_taken(kept):
    with kept() as url:
        ran = script("validate-metrics.sh", "--json", "--window", "1h", OBI_METRICS_URL=url)
    assert (ran.status, ran.failed) == (0, []), ran.out + ran.err


def test_more_agents_and_labels_than_there_are_are_missed(live):
    flags = ("--nodes", "2", "--labels", "k8s_pod_name", "--json")
    ran = script("validate-metrics.sh", *flags, **live.urls)
    assert ran.status == 1
    assert ran.failed == [
        ("label", "k8s_pod_name is on no series of obi_network_packets_total"),
        ("label", "k8s_pod_name is on no series of obi_syscall_calls_total"),
        ("nodes", "1 agents, and there should be 2"),
    ]


@pytest.fixture
def hidden(live):
    """Take spans or entries away from a stand-in for a test."""

    def hide(store, fits):
        store.hidden = fits

    yield hide
    for store in (live.tempo, live.loki):
        store.hidden = None


def test_a_span_or_an_attribute_that_is_gone_is_named(live, hidden):
    hidden(live.tempo, lambda _, span: span.name == "obi collect")
    ran = script(
        "validate-traces.sh", "--spans", "obi collect,tcp connect", "--attributes", "app,k8s.node.name", "--json", **live.urls
    )
    assert ran.status == 1, ran.err
    assert ran.failed == [("span", "obi collect: none"), ("resource", "k8s.node.name: missing on the resource")]


def test_entries_without_a_span_and_labels_that_are_gone_are_named(live, hidden):
    hidden(live.loki, lambda labels, _: "trace_id" in labels)
    ran = script("validate-logs.sh", "--labels", "service_name,k8s_node_name", "--json", **live.urls)
    assert ran.status in {1, 3}
    hidden(live.loki, None)
    ran = script("validate-logs.sh", "--labels", "service_name,k8s_node_name", "--json", **live.urls)
    assert ran.status == 1, ran.err
    ((name, seen),) = ran.failed
    assert name == "label"
    assert seen.startswith("k8s_node_name: missing on ")


def test_each_snippet_that_a_store_lacks_is_named_and_fails_where_it_is_asked_for(live):
    ran = script("validate-logs.sh", "--snippets", "--json", **live.urls)
    assert ran.failed == [
        ("app", 'app is no index label, so {app="obi"} finds nothing; set it as deploy/stores/loki.yaml does')
    ]
    live.loki.index.add("app")
    try:
        assert script("validate-logs.sh", "--snippets", **live.urls).status == 0
    finally:
        live.loki.index.discard("app")


def test_prometheus_that_scrapes_the_agent_is_green_and_lacks_promoted_attributes(live, tmp_path):
    (port,) = free_ports(1)
    often, targets = "scrape_interval: 4s, scrape_timeout: 4s", f"static_configs: [{{targets: ['127.0.0.1:{live.metrics}']}}]"
    config = tmp_path / "prometheus.yml"
    config.write_text(f"global: {{{often}}}\nscrape_configs:\n  - job_name: obi\n    {targets}\n")
    words = (f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}")
    process = subprocess.Popen(["prometheus", *words], stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"), "Prometheus does not come up")
        ran = script(
            "validate-metrics.sh", "--wait", "60s", "--json", "--snippets", OBI_METRICS_URL=f"http://127.0.0.1:{port}"
        )
    finally:
        process.terminate()
        process.wait(30)
    assert [name for name, _ in ran.failed] == ["resource"], ran.out + ran.err
    assert "deploy/stores/mimir.yaml" in ran.failed[0][1]


def test_names_without_suffixes_as_from_a_mimir_as_it_comes_are_found_and_named(victoria_program, kept, tmp_path):
    """A store that cuts what Mimir does not add."""
    rules = tmp_path / "relabel.yml"
    rules.write_text(
        "- {source_labels: [__name__], regex: '(obi_(?:network|tcp|syscall|limits)_.*?)(?:_bytes|_seconds)?(?:_total)?',"
        " target_label: __name__, replacement: '$1'}\n"
    )
    with kept() as url, victoria(victoria_program, tmp_path / "data", tmp_path / "log", f"-relabelConfig={rules}") as plain:
        lines = fetch(f"{url}/api/v1/export?match[]={{__name__=~'(obi|otlp).*',__name__!~'.*_bucket'}}")
        send(f"{plain}/api/v1/import", lines)
        fetch(f"{plain}/internal/force_flush")
        ran = script("validate-metrics.sh", "--json", "--window", "1h", "--snippets", OBI_METRICS_URL=plain)
    found = dict(ran.failed)
    assert "without suffixes" in found["names"], ran.out + ran.err
    assert found["names"].endswith("deploy/stores/mimir.yaml does")
    seen = [check["seen"] for check in ran.document["checks"]]
    assert any(each.startswith("obi_network_packets: ") for each in seen)
    assert any(each.startswith("obi_network_io: ") for each in seen)
    assert "metric" not in found
