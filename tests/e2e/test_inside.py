"""Plugins that pass the door and return garbage once they run: each is quarantined with its reason, the others go on."""

import json
import signal
import socket
import time
import urllib.request

import pytest

GOOD = """
from pydantic import field_validator
from obi_core import Instrument, Kind, LogEvent, LoadPlan, Loss, Mode, Observation, Probe, ProbeSettings, Program, Row, View
from obi_core import Column, hookimpl
THINGS = Instrument("obi.NAME.things", Kind.COUNTER, "{thing}", "Things.", ("kind",))
OTHERS = Instrument("obi.NAME.others", Kind.COUNTER, "{thing}", "Others.")
TABLE = View("NAME", "Things", (Column("thing"),))
MORE = Mode("proc", (Program("tcp_state_btf"),))
class Settings(ProbeSettings):
    more: int = 1
class Thing(Probe):
    name = "NAME"
    settings_type = Settings
    instruments = (THINGS,)
    views = (TABLE,)
    modes = (Mode("proc"),)
    def collect(self):
        yield Observation(THINGS, "row", 23, None, {"kind": "good"})
@hookimpl
def obi_register_probes():
    return (Thing,)
"""
YIELD = 'yield Observation(THINGS, "row", 23, None, {"kind": "good"})'
COLLECT = "    def collect(self):"
LOAD = "    def load(self, loader, mode):\n        "
COUNTED = 'obi_good_things_total{kind="good",obi_probe_mode="proc"} 23'
OTHER_MODE = 'loader.load("obi_plugin_tcp", "tcp", MORE, LoadPlan({}, {}, {}))'

BAD = {
    # name: (what stands in GOOD, what stands there instead, reason, words of the detail)
    "nothing": (YIELD, "return None", "undeclared", "collect returned None, which is nothing to go through"),
    "objects": (YIELD, "yield object()", "undeclared", "collect yielded a object, which is not an observation"),
    "others": (
        YIELD,
        "yield Observation(OTHERS, 1, 1)",
        "undeclared",
        "collect observed 'obi.others.others', which the probe",
    ),
    "texts": (YIELD, "yield Observation(THINGS, 1, 'one')", "undeclared", "was observed as 'one', which is not a number"),
    "owners": (YIELD, "yield Observation(THINGS, 1, 1, 'me')", "undeclared", "observed for 'me', which is no Owner"),
    "floats": (
        YIELD,
        'yield Observation(THINGS, 1, 1, None, {"kind": 2.5})',
        "undeclared",
        "has the kind 2.5, which is neither text nor a whole number",
    ),
    "pids": (YIELD, 'yield Observation(THINGS, 1, 1, None, {"pid": 1})', "undeclared", "does not declare the attribute pid"),
    "attributeless": (
        YIELD,
        "yield Observation(THINGS, 1, 1, None, None)",
        "undeclared",
        "obi.attributeless.things was given 1",
    ),
    "cells": (YIELD, "yield Row(TABLE, 1, None, 'ab')", "undeclared", "has 1 columns, a row had 'ab'"),
    "losses": (YIELD, "yield Loss('full', 'many')", "undeclared", "whose fields are not of the types"),
    "events": (YIELD, "yield LogEvent('x', 1.5, 'x')", "undeclared", "whose fields are not of the types"),
    "flood": (YIELD, "while True: yield Observation(THINGS, 1, 1)", "step_raised", "yielded more than 200000 entries"),
    "loading": (COLLECT, f"{LOAD}{OTHER_MODE}\n{COLLECT}", "undeclared", "mode proc does not declare tcp_state_btf, which"),
    "hushing": (
        COLLECT,
        f"{LOAD}try: {OTHER_MODE}\n        except Exception: pass\n{COLLECT}",
        "undeclared",
        "mode proc does not declare tcp_state_btf, which the probe asked to load",
    ),
    "numbers": (COLLECT, f"{LOAD}loader.load('a', 'b', 42, None)\n{COLLECT}", "undeclared", "to load 42, which is not a mode"),
    "pairs": (COLLECT, f"    def __init__(self, one, two): pass\n{COLLECT}", "step_raised", "TypeError: "),
    "mutes": (YIELD, "raise type('Mute', (Exception,), {'__str__': lambda s: 1 / 0})", "step_raised", "Mute, which cannot be"),
    "settled": (
        "    more: int = 1",
        "    more: int = 1\n    @field_validator('more')\n    @classmethod\n    def check(cls, value): raise KeyError('no')",
        "step_raised",
        "its settings class raised KeyError",
    ),
}


@pytest.fixture
def ports():
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    numbers = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return numbers


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


@pytest.mark.timeout(90)
def test_each_is_quarantined_with_its_reason_and_the_others_go_on(start_obi, plugin_folder, ports):
    for name, (old, new, _, _) in BAD.items():
        source = GOOD.replace(old, new, 1)
        assert source != GOOD, name
        plugin_folder(name, source.replace("NAME", name))
    folder = plugin_folder("good", GOOD.replace("NAME", "good"))
    health, metrics = ports
    agent = start_obi(
        "run",
        *("--plugins", ",".join((*BAD, "good")), "--interval", "500ms", "--view", "off"),
        *("--http-listen", f"127.0.0.1:{health}", "--metrics-listen", f"127.0.0.1:{metrics}"),
        PYTHONPATH=str(folder),
        OBI_SETTLED__MORE="2",
    )
    wrong = dict.fromkeys(BAD)
    end = time.monotonic() + 60
    while wrong and time.monotonic() < end:
        assert agent.poll() is None, agent.communicate()
        time.sleep(0.2)
        try:
            probes = json.loads(get(health, "/status"))["probes"]
        except OSError:
            continue
        wrong = {
            name: probes[name]
            for name, (_, _, reason, words) in BAD.items()
            if probes[name]["state"] not in {"quarantined", "failed"}
            or probes[name]["reason"] != reason
            or words not in probes[name]["detail"]
        }
    assert wrong == {}
    assert (probes["good"]["state"], probes["good"]["reason"]) == ("attached", "ok")
    text = get(metrics, "/metrics")
    while COUNTED not in text and time.monotonic() < end:
        time.sleep(0.1)
        text = get(metrics, "/metrics")
    assert COUNTED in text
    assert [name for name, bad in BAD.items() if bad[2] == "undeclared" and f"obi_{name}_things_total{{" in text] == []
    agent.send_signal(signal.SIGTERM)
    _, err = agent.communicate(timeout=20)
    assert agent.returncode == 0, err
