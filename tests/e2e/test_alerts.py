"""Every alert fires when it should and not when it should not, by `promtool test rules`; and names only metrics that exist."""

import importlib.machinery
import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "config/prometheus"
RULES = {rule["alert"]: rule for rule in yaml.safe_load((FOLDER / "obi-alerts.yaml").read_text())["groups"][0]["rules"]}
NODE = 'instance="n1"'
HOURS = "x240"
"""Samples at a minute each."""


def steady(name, value, labels=""):
    return {f"{name}{{{','.join(filter(None, (NODE, labels)))}}}": f"{value}{HOURS}"}


def grows(name, step, labels=""):
    return {f"{name}{{{','.join(filter(None, (NODE, labels)))}}}": f"0+{step}{HOURS}"}


TCP, TRACES = 'probe="tcp"', 'signal="traces"'


def state(value, state="attached", reason="ok"):
    return steady("obi_probe_state", value, f'{TCP},state="{state}",reason="{reason}"')


EVENTS = "obi_probe_events_total"
SUCCESS = "otlp_exporter_last_success_timestamp_seconds"
# alert: (series under which it fires, series under which it does not)
CASES = {
    "ObiAgentDown": ({f'up{{job="obi",{NODE}}}': f"0{HOURS}"}, {f'up{{job="obi",{NODE}}}': f"1{HOURS}"}),
    "ObiProbeQuarantined": (state(1, "quarantined", "step_hung"), state(1)),
    "ObiProbeFailing": (grows("obi_probe_restarts_total", 1, TCP), steady("obi_probe_restarts_total", 7, TCP)),
    "ObiProbeUnsupported": (state(1, "unsupported", "no_btf"), state(1)),
    "ObiProbeDegraded": (steady("obi_probe_degraded", 1, TCP), steady("obi_probe_degraded", 0, TCP)),
    "ObiLossRatioHigh": (
        grows("obi_probe_events_total", 5, f'{TCP},outcome="lost"')
        | grows("obi_probe_events_total", 100, f'{TCP},outcome="seen"'),
        grows("obi_probe_events_total", 1, f'{TCP},outcome="lost"')
        | grows("obi_probe_events_total", 200, f'{TCP},outcome="seen"'),
    ),
    "ObiEventsFallOff": (
        grows("obi_probe_entries_total", 5, f'{TCP},outcome="lost_queue"'),
        steady("obi_probe_entries_total", 5, f'{TCP},outcome="lost_queue"'),
    ),
    "ObiSeriesOverflow": (grows("obi_series_overflow_total", 1, TCP), steady("obi_series_overflow_total", 9, TCP)),
    "ObiExportFailing": (
        grows("otlp_exporter_failed_items_total", 6, f'{TRACES},reason="unauthenticated"')
        | steady("otlp_exporter_rejected_items_total", 0, TRACES),
        steady("otlp_exporter_failed_items_total", 6, f'{TRACES},reason="unauthenticated"')
        | steady("otlp_exporter_rejected_items_total", 3, TRACES),
    ),
    "ObiExportStalled": (
        steady(SUCCESS, 1, TRACES)
        | steady("otlp_exporter_queue_size", 5, TRACES)
        | steady("otlp_exporter_spool_items", 0, TRACES),
        grows(SUCCESS, 60, TRACES)
        | steady("otlp_exporter_queue_size", 5, TRACES)
        | steady("otlp_exporter_spool_items", 0, TRACES),
    ),
    "ObiExportQueueFilling": (
        steady("otlp_exporter_queue_size", 90, TRACES) | steady("otlp_exporter_queue_capacity", 100, TRACES),
        steady("otlp_exporter_queue_size", 0, TRACES) | steady("otlp_exporter_queue_capacity", 0, TRACES),
    ),
    "ObiSpoolGrowing": (
        grows("otlp_exporter_spool_bytes", 1_000_000, TRACES),
        steady("otlp_exporter_spool_bytes", 50_000_000, TRACES),
    ),
    "ObiExportDropping": (
        grows("otlp_exporter_dropped_items_total", 6, f'{TRACES},cause="queue_full"'),
        steady("otlp_exporter_dropped_items_total", 6, f'{TRACES},cause="queue_full"'),
    ),
    "ObiCertificateExpiring": (
        steady("otlp_exporter_certificate_expiry_timestamp_seconds", 10_800 + 6 * 86_400, f'{TRACES},certificate="client"'),
        steady("otlp_exporter_certificate_expiry_timestamp_seconds", 10_800 + 8 * 86_400, f'{TRACES},certificate="client"')
        | steady("otlp_exporter_certificate_expiry_timestamp_seconds", 0, f'{TRACES},certificate="ca"'),
    ),
    "ObiProbeOverBudget": (
        steady("obi_probe_over_budget", 1, f'{TCP},budget="kernel_cpu"'),
        steady("obi_probe_over_budget", 0, f'{TCP},budget="kernel_cpu"'),
    ),
    "ObiProbeShedding": (steady("obi_probe_shed_level", 2, TCP), steady("obi_probe_shed_level", 0, TCP)),
    "ObiOverBudget": (steady("obi_over_budget", 1, 'budget="cpu"'), steady("obi_over_budget", 0, 'budget="cpu"')),
    "ObiNearOutOfMemory": (
        steady("obi_memory_bytes", 96) | steady("obi_memory_allowed_bytes", 100),
        steady("obi_memory_bytes", 90) | steady("obi_memory_allowed_bytes", 100),
    ),
    "ObiDetachedByOthers": (grows("obi_probe_reattached_total", 1, TCP), steady("obi_probe_reattached_total", 9, TCP)),
    "ObiClockWrong": (
        {f"obi_clock_seconds{{{NODE}}}": f"100+60{HOURS}"},
        {f"obi_clock_seconds{{{NODE}}}": f"5+60{HOURS}"},
    ),
    "ObiNoData": (
        steady("obi_probe_entries_total", 7, f'{TCP},outcome="accepted"') | state(1),
        grows("obi_probe_entries_total", 7, f'{TCP},outcome="accepted"') | state(1),
    ),
}


def promtool(tmp_path, alert, series, *, fires):
    test = {
        "rule_files": [str(FOLDER / "obi-alerts.yaml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)',
                        "eval_time": "3h",
                        "exp_samples": [{"labels": "{}", "value": int(fires)}],
                    }
                ],
            }
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(test))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", sorted(RULES))
def test_an_alert_fires_when_it_should_and_not_when_it_should_not(tmp_path, alert):
    wrong, right = CASES[alert]
    promtool(tmp_path, alert, wrong, fires=True)
    promtool(tmp_path, alert, right, fires=False)


@pytest.mark.parametrize("alert", sorted(RULES))
def test_an_alert_has_a_summary_a_description_and_a_runbook_that_is_there(alert):
    rule = RULES[alert]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"(?m)^### (Obi\w+)$", (ROOT / file).read_text())
    assert anchor in [heading.lower() for heading in headings]


def test_alerts_name_only_metrics_that_the_code_makes():
    source = "\n".join(path.read_text() for path in (ROOT / "obi_core").rglob("*.py"))
    named = {name for rule in RULES.values() for name in re.findall(r"\b(?:obi|otlp_exporter)_[a-z_]+\b", rule["expr"])}
    unknown = {
        name for name in named if f'"{name}"' not in source and f'"{name.removeprefix("otlp_exporter_")}"' not in source
    }
    assert unknown == set()


def test_the_operator_s_rule_is_made_of_the_same_file():
    loader = importlib.machinery.SourceFileLoader("prometheusrule", str(ROOT / "tools/prometheusrule"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("prometheusrule", loader))
    loader.exec_module(module)
    text = (FOLDER / "obi-prometheusrule.yaml").read_text()
    assert text == module.rule(), "run tools/prometheusrule"
    made = yaml.safe_load(text)
    assert (made["kind"], made["metadata"]["namespace"]) == ("PrometheusRule", "mop-system")
    assert made["spec"]["groups"] == yaml.safe_load((FOLDER / "obi-alerts.yaml").read_text())["groups"]
