"""`obi cardinality` counts series by attribute and exports nothing."""

import json

PROBE = """
from obi_core import Instrument, Kind, Mode, Observation, Probe, hookimpl
THINGS = Instrument("obi.beat.things", Kind.COUNTER, "{thing}", "Things.", ("path", "code"))
class Beat(Probe):
    name = "beat"
    instruments = (THINGS,)
    modes = (Mode("proc"),)
    def load(self, loader, mode): pass
    def collect(self):
        for number in range(3000):
            yield Observation(THINGS, number, 1, None, {"path": f"/{number % 1000}", "code": number % 3})
@hookimpl
def obi_register_probes(): return (Beat,)
"""


def test_it_says_which_attribute_costs_what(obi, plugin_folder):
    folder = plugin_folder("beat", PROBE)
    done = obi("cardinality", "--for", "1s", "--json", "--plugins", "beat", PYTHONPATH=str(folder))
    assert done.returncode == 0, done.stderr
    (metric,) = json.loads(done.stdout)["metrics"]
    assert metric == {
        "name": "obi.beat.things",
        "series": 3000,
        "overflowed": False,
        "attributes": [
            {"name": "path", "values": 1000, "series_without": 3},
            {"name": "code", "values": 3, "series_without": 1000},
            {"name": "obi.probe.mode", "values": 1, "series_without": 3000},
        ],
    }


def test_a_wrong_time_is_a_wrong_flag(obi):
    done = obi("cardinality", "--for", "soon")
    assert (done.returncode, done.stderr) == (
        2,
        "obi: --for: 'soon' is not allowed; it must be a time up to 7 days, such as 30s or 5m\n",
    )
