"""The dashboards' JSON: made by the code beside it, sound, and of names that exist."""

import importlib
import json
import re
import subprocess
import sys
import tomllib
import urllib.parse
from pathlib import Path

import pytest
import yaml

from obi_core.model import Instrument, Kind, Metric
from obi_core.sinks.naming import family_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "dashboards"
PROBES = ("limits", "network", "syscall", "tcp")
BOARDS = {f"obi-{name}": FOLDER / f"obi-{name}.json" for name in ("health", "performance", "validation", *PROBES)}
COLUMNS = 24
PRESENT = {
    "$__rate_interval": "5m",
    "$cluster": ".*",
    "$node": ".*",
    "$namespace": ".*",
    "${workload:raw}": 'k8s_deployment_name="web"',
}
"""The variables that an expression may have, each with a value."""


def board(uid):
    return json.loads(BOARDS[uid].read_text())


def panels(uid):
    return [panel for panel in board(uid)["panels"] if panel["type"] != "row"]


def targets():
    return [(uid, panel, target) for uid in BOARDS for panel in panels(uid) for target in panel["targets"]]


def expressions(uid):
    return [target["expr"] for panel in panels(uid) for target in panel["targets"]]


def filled(text):
    for name, value in PRESENT.items():
        text = text.replace(name, value)
    return text


def instruments(probe):
    """What a probe can say, by the name that stores have for it."""
    catalogue = importlib.import_module(f"obi_plugin_{probe}.catalogue")
    found = [value for value in vars(catalogue).values() if isinstance(value, Instrument)]
    return {family_name(Metric(each, "x", ())) + ("_total" if each.kind is Kind.COUNTER else ""): each for each in found}


def named(text):
    return set(re.findall(r"\b(?:obi|otlp_exporter)_[a-z_]+\b", text))


def test_there_is_a_dashboard_for_each_purpose_and_each_probe_and_no_other():
    assert sorted(FOLDER.glob("*.json")) == sorted(BOARDS.values())


def test_the_files_are_what_the_generator_writes(tmp_path):
    subprocess.run([sys.executable, "-m", "dashboards", "--to", tmp_path], cwd=ROOT, check=True)
    stale = [file.name for file in BOARDS.values() if file.read_text() != (tmp_path / file.name).read_text()]
    assert stale == [], "run make dashboards"


@pytest.mark.parametrize("uid", BOARDS)
def test_a_dashboard_is_sound(uid):
    found = board(uid)
    assert (found["uid"], found["tags"]) == (uid, ["obi"])
    assert found["title"].startswith("OBI: ")
    assert found["description"]
    numbers = [panel["id"] for panel in found["panels"]]
    assert len(set(numbers)) == len(numbers)
    titles = [panel["title"] for panel in found["panels"]]
    assert len(set(titles)) == len(titles)
    for panel in panels(uid):
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters)), panel["title"]
        assert letters, panel["title"]


@pytest.mark.parametrize("uid", BOARDS)
def test_every_panel_asks_says_what_it_shows_and_has_a_unit(uid):
    for panel in panels(uid):
        assert panel["title"].endswith("?"), panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


@pytest.mark.parametrize("uid", BOARDS)
def test_panels_lie_side_by_side_within_the_grid_and_leave_no_gap(uid):
    taken = set()
    for panel in board(uid)["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
        }
        assert len(cells) == place["w"] * place["h"] > 0, panel["title"]
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells
    height = max(y for _, y in taken) + 1
    assert len(taken) == COLUMNS * height
    assert max(x for x, _ in taken) == COLUMNS - 1


@pytest.mark.parametrize("uid", BOARDS)
def test_no_data_source_is_named_but_by_its_variable(uid):
    found = board(uid)
    sources = {variable["name"] for variable in found["templating"]["list"] if variable["type"] == "datasource"}

    def uids(node):
        if isinstance(node, dict):
            if "uid" in node and "type" in node:
                yield node["uid"]
            for value in node.values():
                yield from uids(value)
        elif isinstance(node, list):
            for value in node:
                yield from uids(value)

    assert set(uids({**found, "uid": None})) == {"${datasource}"}
    assert "datasource" in sources


@pytest.mark.parametrize("uid", BOARDS)
def test_the_variables_are_those_that_its_panels_use(uid):
    text = BOARDS[uid].read_text()
    names = [variable["name"] for variable in board(uid)["templating"]["list"]]
    common = ["datasource", "cluster", "node"]
    whose = ["namespace", "workload"] if uid.removeprefix("obi-") in PROBES else []
    assert names[: len(common) + len(whose)] == common + whose
    for name in names:
        assert re.search(rf"\$\{{?{name}\b", text), name


def test_a_choice_of_a_workload_is_a_matcher_of_whichever_label_names_it():
    (workload,) = [each for each in board("obi-tcp")["templating"]["list"] if each["name"] == "workload"]
    pattern = re.compile(workload["regex"].strip("/").replace("(?<", "(?P<"))
    said = '{k8s_cronjob_name="night",k8s_job_name="night-1"} 1 1795519421000'
    assert pattern.search(said).groupdict() == {"value": 'k8s_cronjob_name="night"', "text": "night"}
    assert pattern.search('{systemd_unit="nginx.service"} 1 1795519421000')["text"] == "nginx.service"
    assert pattern.search("{} 1 1795519421000") is None


def test_every_expression_parses(tmp_path):
    queries = [target["expr"] for _, _, target in targets()]
    for uid in BOARDS:
        for variable in board(uid)["templating"]["list"]:
            asked = variable["query"]["query"] if variable["type"] == "query" else ""
            queries += re.findall(r"^query_result\((.+)\)$", asked) + re.findall(r"^label_values\((.+), \w+\)$", asked)
    assert [query for query in map(filled, queries) if "$" in query] == []
    rules = [{"record": f"panel:{number}", "expr": filled(query)} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
    assert len(rules) > 120


@pytest.mark.parametrize("uid", BOARDS)
def test_every_name_is_one_that_a_catalogue_or_the_agent_itself_has(uid):
    known = {name + suffix for probe in PROBES for name in instruments(probe) for suffix in ("", "_bucket")}
    source = "\n".join(path.read_text() for path in (ROOT / "obi_core").rglob("*.py"))
    for name in named(BOARDS[uid].read_text()) - known - {"obi_node_info"}:
        own = name.removeprefix("otlp_exporter_").removeprefix("obi_kubernetes_")
        assert f'"{own}"' in source, name
    assert '"obi_node_info"' in source


@pytest.mark.parametrize("probe", PROBES)
def test_a_probes_dashboard_shows_every_instrument_that_it_has(probe):
    shown = {name.removesuffix("_bucket") for text in expressions(f"obi-{probe}") for name in named(text)}
    assert instruments(probe).keys() - shown == set()
    assert shown - instruments(probe).keys() == {"obi_node_info"}


@pytest.mark.parametrize("probe", PROBES)
def test_a_label_is_one_that_its_instrument_can_have(probe):
    subject = set(
        re.findall(
            r"[a-z0-9_]+",
            ("k8s_namespace_name k8s_pod_name k8s_pod_uid systemd_unit process_linux_cgroup process_executable_name"),
        )
    )
    for text in expressions(f"obi-{probe}"):
        for name, instrument in instruments(probe).items():
            own = {attribute.replace(".", "_") for attribute in instrument.attributes}
            for matchers in re.findall(
                rf"\b{name}(?:_bucket)?\{{([^}}]*)\}}", filled(text).replace("k8s_deployment_name", "k8s_pod_name")
            ):
                labels = set(re.findall(r'(\w+)(?:=~|!=|!~|=)"', matchers))
                assert labels <= own | (subject if instrument.subject else set()), (name, labels)


def test_units_are_those_of_the_instruments():
    for _, panel, target in targets():
        unit, text = panel["fieldConfig"]["defaults"]["unit"], target["expr"]
        divided = " / " in text
        if "histogram_quantile" in text:
            assert unit == "s", panel["title"]
        elif re.search(r"rate\(obi_\w+_bytes_total", text) and not divided:
            assert unit == "binBps", panel["title"]
        elif re.search(r"rate\(obi_network_(?:\w+_)?(?:packets|drops)_total", text) and not divided:
            assert unit == "pps", panel["title"]
        elif re.search(r"rate\(obi_\w+_seconds_total", text) and not divided:
            assert unit == "percentunit", panel["title"]
        elif "rate(" in text and not divided:
            assert unit == "cps", panel["title"]


def test_a_jump_asks_a_store_for_a_span_or_a_scope_that_there_is():
    spans = set()
    for path in (*(ROOT / "plugins").glob("*/obi_plugin_*/records.py"), *(ROOT / "obi_core").rglob("*.py")):
        spans |= set(re.findall(r'Span\(f?"([a-z ]+)', path.read_text()))
    projects = [ROOT / "pyproject.toml", *(ROOT / "plugins").glob("*/pyproject.toml")]
    scopes = {tomllib.loads(path.read_text())["project"]["name"] for path in projects}
    asked = set()
    for uid in BOARDS:
        for panel in panels(uid):
            for link in panel.get("links", ()):
                panes = urllib.parse.parse_qs(urllib.parse.urlsplit(link["url"]).query)["panes"][0]
                (query,) = json.loads(panes)["obi"]["queries"]
                assert query["datasource"] in (
                    {"type": "tempo", "uid": "${traces}"},
                    {"type": "loki", "uid": "${logs}"},
                )
                asked.add(query.get("query") or query["expr"])
    for text in asked:
        if "scope_name" in text:
            assert re.search(r'scope_name="([\w-]+)"', text)[1] in scopes, text
        else:
            name = re.search(r'&& name =~? "([a-z ]+)', text)[1]
            assert name in spans, name
    assert len(asked) == 10
