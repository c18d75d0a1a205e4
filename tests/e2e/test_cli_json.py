"""Output for scripts: one JSON document on standard output, nothing else."""

import json
import os
from pathlib import Path

from obi_core.cli.doctor.document import SCHEMA, reference

ROOT = Path(__file__).parents[2]

NOISY = """
import pluggy
print("plugins print when they are imported")
from obi_core import Instrument, Kind, Mode, Probe
class Noisy(Probe):
    name = "noisy"
    instruments = (Instrument("obi.noisy.x", Kind.COUNTER, "{x}", "X."),)
    modes = (Mode("first", needs=("cap:no_such",)), Mode("second", loses=("obi.noisy.x",)))
    def load(self, loader, mode):
        print("and when they are loaded")
    def collect(self):
        return ()
@pluggy.HookimplMarker("obi")
def obi_register_probes():
    return [Noisy]
"""
HANGING = NOISY.replace('print("and when they are loaded")', "import time; time.sleep(3600)").replace("noisy", "hanging")


def only(document, name):
    (found,) = [entry for entry in document if entry["name"] == name]
    return found


def keys(value, path=""):
    """Every key of a document, as the reference writes it; what a mapping holds by name is not looked into."""
    if isinstance(value, list):
        return {key for each in value for key in keys(each, f"{path}[]")} if value and isinstance(value[0], dict) else {path}
    if not isinstance(value, dict) or path in {"node.config", "node.cgroup1", "probes[].map_memory"}:
        return {path}
    return {key for name, each in value.items() for key in keys(each, f"{path}.{name}".removeprefix("."))}


def test_the_doctor_s_document_has_a_probe_with_its_modes(obi):
    done = obi("doctor", "--json")
    document = json.loads(done.stdout)
    assert set(document) == {"status", "node", "probes", "neighbours", "ports", "advice"}
    assert document["status"] == done.returncode
    tcp = only(document["probes"], "tcp")
    assert tcp["support"] in {"full", "degraded", "none"}
    assert (tcp["mode"] is None) == (tcp["support"] == "none")
    if tcp["mode"]:
        memory = tcp["map_memory"]
        assert set(memory) == {"planned", "asked", "budget", "maps"}
        assert memory["planned"] == memory["asked"] == sum(memory["maps"].values())
        assert memory["budget"] == 64 << 20


def test_the_doctor_s_document_is_the_one_of_the_reference(obi):
    schema = {key for key, _, _ in SCHEMA}
    without_everything = ("setpriv", "--inh-caps=-all", "--bounding-set=-all") if os.geteuid() == 0 else ()
    found = set()
    for prefix in ((), without_everything):
        found |= keys(json.loads(obi("doctor", "--json", prefix=prefix).stdout))
    lists = {"neighbours", "advice", "probes[].modes[].refused"}
    assert found - schema <= lists, "an empty list stands for itself"
    may_be_empty = {key for key in schema if key.startswith(tuple(f"{each}[]" for each in lists))}
    assert schema - found <= may_be_empty
    assert (ROOT / "docs/reference/doctor.md").read_text() == reference()


def test_what_a_plugin_prints_does_not_get_into_the_document(obi, plugin_folder):
    folder = plugin_folder("noisy", NOISY)
    for command in (("doctor",), ("plugins", "list")):
        done = obi(*command, "--json", "--plugins", "noisy", PYTHONPATH=str(folder))
        json.loads(done.stdout)
        assert "plugins print when they are imported" in done.stderr


def test_a_degraded_probe_is_status_1_and_good_enough_for_preflight(obi, plugin_folder):
    folder = plugin_folder("noisy", NOISY)
    done = obi("doctor", "--json", "--plugins", "noisy", PYTHONPATH=str(folder))
    (noisy,) = json.loads(done.stdout)["probes"]
    assert (done.returncode, noisy["support"], noisy["mode"], noisy["loses"]) == (1, "degraded", "second", ["obi.noisy.x"])
    assert [(mode["name"], mode["ok"], mode["reason"]) for mode in noisy["modes"]] == [
        ("first", False, "missing_capability"),
        ("second", True, "ok"),
    ]
    assert len(noisy["reasons"]) == 1
    assert noisy["reasons"][0].startswith("first: cap:no_such is missing: ")
    assert obi("doctor", "--preflight", "--plugins", "noisy", PYTHONPATH=str(folder)).returncode == 0


def test_a_plugin_that_cannot_be_used_is_there_with_its_reason(obi, plugin_folder):
    folder = plugin_folder("broken", "raise ValueError('no luck')")
    done = obi("doctor", "--json", "--plugins", "broken", PYTHONPATH=str(folder))
    (broken,) = json.loads(done.stdout)["probes"]
    assert (done.returncode, broken["support"], broken["modes"]) == (3, "none", [])
    assert "raised ValueError: no luck" in broken["reasons"][0]


def test_a_required_probe_that_cannot_run_is_status_3_also_for_preflight(obi, plugin_folder):
    plugin_folder("broken", "raise ValueError('no luck')")
    folder = plugin_folder("noisy", NOISY)
    words = ("doctor", "--preflight", "--plugins", "broken,noisy")
    assert obi(*words, PYTHONPATH=str(folder)).returncode == 0
    assert obi(*words, PYTHONPATH=str(folder), OBI_HTTP__REQUIRED="broken").returncode == 3


def test_a_plugin_that_hangs_costs_the_doctor_its_deadline_only(obi, plugin_folder):
    folder = plugin_folder("hanging", HANGING)
    done = obi("doctor", "--json", "--plugins", "hanging", PYTHONPATH=str(folder), OBI_AGENT__STEP_DEADLINE_S="200ms")
    (hanging,) = json.loads(done.stdout)["probes"]
    assert (done.returncode, hanging["modes"][1]["reason"]) == (3, "step_hung")


def test_the_list_of_plugins_says_which_are_enabled_and_imports_no_other(obi, plugin_folder):
    folder = plugin_folder("noisy", NOISY)
    done = obi("plugins", "list", "--json", PYTHONPATH=str(folder))
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr, set(document)) == (0, "", {"plugins"})
    tcp, noisy = only(document["plugins"], "tcp"), only(document["plugins"], "noisy")
    assert (tcp["dist"], tcp["enabled"], tcp["reason"]) == ("obi-plugin-tcp", True, "ok")
    assert tcp["modes"][0] == "tp_btf"
    assert (noisy["enabled"], noisy["reason"], noisy["modes"]) == (False, "not_listed", [])


def test_the_version_is_a_document_too(obi):
    document = json.loads(obi("version", "--json").stdout)
    assert set(document) == {"obi", "python", "kernel", "machine"}
    assert obi("--version").stdout.startswith(f"obi {document['obi']} (Python ")
