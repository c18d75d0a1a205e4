"""The program follows its files: on SIGHUP, and by itself through a ConfigMap's link."""

import signal
import time
import urllib.request

PROBE = """
from typing import Annotated
from obi_core import Instrument, Kind, Mode, Observation, Probe, ProbeSettings, hookimpl
THINGS = Instrument("obi.beat.things", Kind.COUNTER, "{thing}", "Things.", headline=({},))
class Settings(ProbeSettings):
    size: int = 1
class Beat(Probe):
    name = "beat"
    settings_type = Settings
    instruments = (THINGS,)
    modes = (Mode("proc"),)
    def load(self, loader, mode): pass
    def collect(self):
        yield Observation(THINGS, "row", self.settings.size)
@hookimpl
def obi_register_probes(): return (Beat,)
"""


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return answer.read().decode()


def wait_for(port, line):
    for _ in range(300):
        try:
            if line in (text := scrape(port)):
                return text
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(line)


def free_ports():
    import socket

    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports


def test_a_signal_and_a_swapped_link_are_followed_and_a_bad_file_is_not(start_obi, plugin_folder, tmp_path):
    folder = plugin_folder("beat", PROBE)
    health, metrics = free_ports()
    common = f"agent:\n  view: 'off'\n  plugins: [beat]\n  interval_s: 50ms\nmetrics:\n  listen: 127.0.0.1:{metrics}\n"
    common += f"http:\n  listen: 127.0.0.1:{health}\n"
    mount = tmp_path / "config"
    mount.mkdir()
    for number, size in enumerate(("7", "11", "many", "13")):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "obi.yaml").write_text(f"{common}beat:\n  size: {size}\n")
    (mount / "..data").symlink_to(tmp_path / "v0")
    (mount / "obi.yaml").symlink_to("..data/obi.yaml")

    def swap(number):
        (mount / "..new").symlink_to(tmp_path / f"v{number}")
        (mount / "..new").rename(mount / "..data")

    agent = start_obi("run", "--config", str(mount), PYTHONPATH=str(folder))
    wait_for(metrics, 'obi_beat_things_total{obi_probe_mode="proc"} 7.0')
    swap(1)
    agent.send_signal(signal.SIGHUP)
    text = wait_for(metrics, 'obi_beat_things_total{obi_probe_mode="proc"} 18.0')
    assert 'obi_config_reloads_total{result="applied"} 1.0' in text
    swap(2)
    wait_for(metrics, 'obi_config_reloads_total{result="refused"} 1.0')
    swap(3)
    wait_for(metrics, 'obi_beat_things_total{obi_probe_mode="proc"} 31.0')
    agent.send_signal(signal.SIGTERM)
    _, said = agent.communicate(timeout=15)
    assert agent.returncode == 0
    (refusal,) = [line for line in said.splitlines() if "refused" in line]
    assert "v2/obi.yaml" not in refusal
    assert f'{mount}/obi.yaml:10: beat.size: \\"many\\" is not allowed; it must be a whole number' in refusal
