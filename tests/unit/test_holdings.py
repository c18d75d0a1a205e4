"""`obi programs` and `obi maps` against the health endpoint of an agent whose status is known."""

import json
import re
from pathlib import Path

import pytest

from obi_core.cli.main import main
from obi_core.host import Host
from obi_core.kernel.base import MapStats, ProgramStats
from obi_core.runtime.document import kernel_objects
from obi_core.runtime.health import routes
from obi_core.runtime.http import HealthServer
from obi_core.settings import Listen

REFERENCE = Path(__file__).resolve().parents[2] / "docs/reference/programs-and-maps.md"
STATUS = {
    "identity": kernel_objects([ProgramStats("identity_exec", 0, 0, 412, 7, "tracing", "tp_btf/sched", ("",))], ()),
    "probes": {
        "tcp": kernel_objects(
            [
                ProgramStats("tcp_set_state", 0, 0, 1503, 41, "tracing", "tp_btf/inet_sock_set_state", ("",)),
                ProgramStats("tcp_seed", 0, 0, 90, 42, "tracing", "iter/tcp"),
                ProgramStats("tcp_in", 0, 0, 77, 43, "tc", "tc", ("eth0:ingress",)),
                ProgramStats("tcp_out", 0, 0, 77, 44, "tc", "tc", ("eth0:egress", "eth1:egress")),
            ],
            [
                MapStats("tcp_connects", 4096, 1_048_576, 11, "hash", 40, 8),
                MapStats("tcp_closed", 65536, 81_920, 12, "ringbuf"),
            ],
            {"tcp_connects": 0.125},
        ),
        "limits": kernel_objects((), ()),
    },
    "budgets": {"probes": {"tcp": {"programs": {"tcp_set_state": {"cpus": 0.0004, "runs_per_s": 800.0}}}}},
}


@pytest.fixture
def listen(monkeypatch):
    monkeypatch.delenv("OBI_CONFIG", raising=False)
    server = HealthServer(Listen("127.0.0.1", 0), routes(lambda: 0.1, tuple, (), lambda: STATUS), Host())
    server.start()
    yield f"127.0.0.1:{server.port}"
    server.stop()


def test_programs_are_a_table_with_the_dearest_first(listen, capsys):
    assert main(["programs", "--http-listen", listen]) == 0
    assert capsys.readouterr().out == (
        "program        probe  id  hook                        attached  insns  runs/s  ns/run     cpu\n"
        "tcp_set_state  tcp    41  tp_btf/inet_sock_set_state       yes   1503     800     500  0.040%\n"
        "identity_exec  core   7   tp_btf/sched                     yes    412       -       -       -\n"
        "tcp_in         tcp    43  tc (eth0:ingress)                yes     77       -       -       -\n"
        "tcp_out        tcp    44  tc (2 places)                    yes     77       -       -       -\n"
        "tcp_seed       tcp    42  iter/tcp                          no     90       -       -       -\n"
    )


def test_maps_are_a_table_with_the_largest_first_and_the_sum(listen, capsys):
    assert main(["maps", "--http-listen", listen]) == 0
    assert capsys.readouterr().out == (
        "map           probe  id  kind     key  value  entries   full  memory\n"
        "tcp_connects  tcp    11  hash      40      8     4096  12.5%   1 MiB\n"
        "tcp_closed    tcp    12  ringbuf    0      0    65536      -  80 KiB\n"
        "2 maps, 1.1 MiB\n"
    )


@pytest.mark.parametrize("command", ["programs", "maps"])
def test_the_document_has_the_keys_of_the_reference(listen, capsys, command):
    assert main([command, "--json", "--http-listen", listen]) == 0
    found = json.loads(capsys.readouterr().out)[command]
    assert list(found[0]) == re.findall(rf"^\| `{command}\[\]\.([a-z_]+)`", REFERENCE.read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", ["programs", "maps"])
def test_where_nobody_answers_one_line_says_so(capsys, command):
    assert main([command, "--http-listen", "127.0.0.1:9"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("obi: no agent answers at 127.0.0.1:9/status (")
    assert error.count("\n") == 1
