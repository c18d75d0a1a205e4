"""`obi health` against a real health endpoint."""

import subprocess
import sys

import pytest

from obi_core.cli.main import main
from obi_core.host import Host
from obi_core.model import ProbeState, Reason
from obi_core.runtime.health import routes
from obi_core.runtime.http import HealthServer
from obi_core.runtime.status import Status
from obi_core.settings import Listen

RUNS = Status("tcp", ProbeState.ATTACHED, Reason.OK)
BROKEN = Status("limits", ProbeState.QUARANTINED, Reason.STEP_HUNG)


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.delenv("OBI_CONFIG", raising=False)
    servers = []

    def start(statuses=(RUNS,), required=(), age=0.4, host="127.0.0.1"):
        server = HealthServer(Listen(host, 0), routes(lambda: age, lambda: statuses, required, dict), Host())
        server.start()
        servers.append(server)
        return f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize(
    ("age", "status", "said"), [(0.4, 0, "alive\n"), (99.0, 1, "stuck: its loop has not turned for 99.0 s\n")]
)
def test_it_says_whether_the_loop_turns(serve, capsys, age, status, said):
    assert main(["health", "--http-listen", serve(age=age)]) == status
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("required", "status", "said"),
    [
        ((), 0, "ready: limits quarantined (step_hung), tcp attached (ok)\n"),
        (("limits",), 1, "not ready: limits quarantined (step_hung), tcp attached (ok)\n"),
    ],
)
def test_asked_for_readiness_it_names_every_probe(serve, capsys, required, status, said):
    assert main(["health", "--ready", "--http-listen", serve((RUNS, BROKEN), required)]) == status
    assert capsys.readouterr().out == said


def test_the_whole_answer_is_json(serve, capsys):
    assert main(["health", "--json", "--http-listen", serve()]) == 0
    assert capsys.readouterr().out == '{"healthy": true, "loop_age_s": 0.4}\n'


def test_it_finds_the_address_as_the_agent_does(serve, capsys, monkeypatch, tmp_path):
    address = serve()
    (tmp_path / "obi.yaml").write_text(f"http:\n  listen: {address}\n")
    assert main(["health", "--config", str(tmp_path)]) == 0
    monkeypatch.setenv("OBI_HTTP__LISTEN", address)
    assert main(["health"]) == 0
    monkeypatch.setenv("OBI_HTTP__LISTEN", serve(host="0.0.0.0").replace("0.0.0.0", ""))
    assert main(["health"]) == 0, "an agent that listens everywhere is asked here"
    monkeypatch.setenv("OBI_HTTP__LISTEN", serve(host="::1"))
    assert main(["health"]) == 0


def test_an_agent_that_is_not_there_is_a_sentence(capsys):
    assert main(["health", "--http-listen", "127.0.0.1:9"]) == 1
    assert capsys.readouterr().err == (
        "obi: no agent answers at 127.0.0.1:9/health ([Errno 111] Connection refused); is it running, and does --http-listen"
        " say where?\n"
    )


def test_an_address_that_is_none_is_a_configuration_error(capsys):
    assert main(["health", "--http-listen", "nowhere"]) == 2
    assert "must be HOST:PORT" in capsys.readouterr().err


def test_an_exec_probe_loads_nothing_heavy(serve):
    code = (
        "import sys; from obi_core.cli.main import main; status = main(sys.argv[1:]);"
        "heavy = {'pydantic', 'yaml', 'prometheus_client', 'opentelemetry'} & set(sys.modules); print(sorted(heavy));"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "health", "--http-listen", serve()],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == "alive\n[]\n"
