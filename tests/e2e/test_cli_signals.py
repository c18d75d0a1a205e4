"""`obi run` ends cleanly when asked, and at once when asked twice."""

import re
import signal

import pytest

COUNTING = """
import sys, threading
import pluggy
from obi_core import Instrument, Kind, Mode, Probe
class Counting(Probe):
    name = "counting"
    instruments = (Instrument("obi.counting.x", Kind.COUNTER, "{x}", "X."),)
    modes = (Mode("only"),)
    calls = 0
    def collect(self):
        Counting.calls += 1
        sys.stderr.write(f"collect {self.calls}\\n")
        if self.calls == STUCK_AT:
            threading.Event().wait()
        return ()
@pluggy.HookimplMarker("obi")
def obi_register_probes():
    return [Counting]
"""
LISTEN = ("--http-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")


def wait_for(process, text):
    for line in process.stderr:
        if re.search(text, line):
            return
    pytest.fail(f"ended without saying {text!r}")


@pytest.fixture
def running(start_obi, plugin_folder):
    def run(stuck_at=0):
        folder = plugin_folder("counting", COUNTING.replace("STUCK_AT", str(stuck_at)))
        words = ("run", *LISTEN, "--plugins", "counting", "--interval", "1h")
        process = start_obi(*words, PYTHONPATH=str(folder), OBI_AGENT__SHUTDOWN_DEADLINE_S="1h")
        wait_for(process, "collect 1$")
        return process

    return run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_ends_it_after_a_last_collection_with_status_0(running, number):
    process = running()
    process.send_signal(number)
    _, rest = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "collect 2\n" in rest
    assert "Traceback" not in rest


def test_a_second_interrupt_ends_it_at_once_with_status_130(running):
    process = running(stuck_at=2)
    process.send_signal(signal.SIGINT)
    wait_for(process, "collect 2$")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
