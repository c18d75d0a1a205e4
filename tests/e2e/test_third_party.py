"""A distribution from outside: built as a wheel with the hook, installed beside ours in a clean environment, run when listed.

The clean environment has wheels of ours and what they depend on, and nothing of this tree.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "thirdparty"
EXECS = 23

pytestmark = [pytest.mark.timeout(300)]


class Clean:
    """A virtual environment that knows third-party packages, and of ours what is installed into it."""

    def __init__(self, folder):
        self.wheels = folder / "wheels"
        self.folder = folder / "clean"
        self.wheels.mkdir()
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", self.folder], check=True)
        self.python = self.folder / "bin" / "python"
        others = folder / "third-party"
        others.mkdir()
        for path in Path(sysconfig.get_path("purelib")).iterdir():
            if not path.name.startswith(("obi_", "_obi", "_editable", "__editable__")) and path.suffix != ".pth":
                (others / path.name).symlink_to(path)
        (site,) = self.folder.glob("lib/python3*/site-packages")
        (site / "third-party.pth").write_text(f"{others}\n")

    def run(self, *words, **environ):
        done = subprocess.run(
            list(map(str, words)),
            cwd=self.folder,
            env=self.environ(environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def environ(self, extra):
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("OBI_", "OTEL_", "PYTHON", "PIP_"))}
        return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **extra}

    def build(self, source, *targets, python=None):
        """Build with hatchling, without an index and without isolation: with what is installed."""
        words = [word for target in targets for word in ("-t", target)]
        subprocess.run(
            [str(python or self.python), "-m", "hatchling", "build", "-d", str(self.wheels), *words],
            cwd=source,
            env=self.environ({}),
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def install(self, *names):
        wheels = [wheel for name in names for wheel in self.wheels.glob(f"{name.replace('-', '_')}-*.whl")]
        assert len(wheels) == len(names)
        self.run(sys.executable, "-m", "pip", "--python", self.python, "install", "-q", "--no-index", *wheels)

    def obi(self, *words, **environ):
        return self.run(self.folder / "bin" / "obi", *words, **environ)


def copy_of(source, target):
    made = shutil.ignore_patterns("*.bpf.o", "*.bcc.c", "__pycache__", "dist", ".*")
    return shutil.copytree(source, target, ignore=made)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("thirdparty")
    made = Clean(folder)
    # The core builds itself; the plugins are built by the installed core, with its headers.
    made.build(ROOT, "wheel", python=sys.executable)
    made.install("obi-core")
    made.build(copy_of(ROOT / "plugins" / "tcp", folder / "tcp"), "wheel")
    made.build(copy_of(FIXTURE, folder / "heartbeat"), "wheel", "sdist")
    made.install("obi-plugin-tcp", "obi-plugin-heartbeat")
    return made


@pytest.fixture
def ports():
    import socket

    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    numbers = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return numbers


def files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


def test_nothing_of_this_tree_is_in_the_clean_environment(clean):
    names = "obi_core, obi_plugin_tcp, obi_plugin_heartbeat"
    script = f"import {names}\nprint(*(each.__file__ for each in ({names})))"
    paths = clean.run(clean.python, "-c", script).stdout.split()
    assert [Path(path).is_relative_to(clean.folder) for path in paths] == [True] * 3


def test_the_wheel_of_its_sdist_is_the_wheel_of_its_tree(clean, tmp_path):
    (sdist,) = clean.wheels.glob("obi_plugin_heartbeat-*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert [name for name in archive.getnames() if name.endswith((".bpf.o", ".bcc.c"))] == [], "sources only"
    pip = (sys.executable, "-m", "pip", "--python", clean.python)
    clean.run(*pip, "wheel", "-q", "--no-index", "--no-build-isolation", "--no-deps", "-w", tmp_path, sdist)
    (again,) = tmp_path.glob("*.whl")
    (first,) = clean.wheels.glob("obi_plugin_heartbeat-*.whl")
    assert again.name == first.name
    assert again.name.endswith(f"-py3-none-linux_{os.uname().machine}.whl"), "an object is of one machine"
    assert files(again).keys() == files(first).keys()
    assert {f"obi_plugin_heartbeat/heartbeat.{kind}" for kind in ("bpf.o", "bcc.c", "bpf.c")} <= files(first).keys()
    assert files(again)["obi_plugin_heartbeat/heartbeat.bpf.o"][:4] == b"\x7fELF"


def test_what_is_not_listed_is_shown_and_never_imported(clean, tmp_path):
    trace = tmp_path / "imported"
    done = clean.obi("plugins", "list", HEARTBEAT_IMPORTED=str(trace))
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("heartbeat")]
    said = "not_listed: installed, not listed in agent.plugins: not imported"
    assert " ".join(line.split()) == f"heartbeat obi-plugin-heartbeat 0.3.1 {said}"
    document = json.loads(clean.obi("plugins", "list", "--json", HEARTBEAT_IMPORTED=str(trace)).stdout)
    assert {plugin["name"]: plugin["enabled"] for plugin in document["plugins"]} == {"tcp": True, "heartbeat": False}
    assert not trace.exists()
    clean.obi("plugins", "list", "--plugins", "heartbeat", HEARTBEAT_IMPORTED=str(trace))
    assert trace.read_text() == "imported\n", "listed, it is imported: the trace works"


@pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf"))
def test_listed_in_the_configuration_it_counts_real_events(clean, tmp_path, ports):
    health, metrics = ports
    (tmp_path / "obi.yaml").write_text(
        f"agent:\n  plugins: [heartbeat]\n  interval_s: 1s\n"
        f"http:\n  listen: 127.0.0.1:{health}\nmetrics:\n  listen: 127.0.0.1:{metrics}\n"
    )
    program = tmp_path / f"obihb{os.getpid()}"
    shutil.copy("/bin/true", program)
    agent = subprocess.Popen(
        [str(clean.folder / "bin" / "obi"), "run", "--config", str(tmp_path)],
        cwd=clean.folder,
        env=clean.environ({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: json.loads(get(health, "/ready"))["ready"], agent)
        for _ in range(EXECS):
            subprocess.run([str(program)], check=True)
        until(lambda: counted(metrics, program.name) == EXECS, agent)
        document = json.loads(get(health, "/status"))
        assert list(document["probes"]) == ["heartbeat"]
        assert document["not_listed"] == ["tcp"]
        agent.send_signal(signal.SIGTERM)
        _, err = agent.communicate(timeout=20)
        assert agent.returncode == 0, err
    finally:
        agent.kill()
        agent.communicate()


@pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf"))
def test_its_own_contract_test_passes_with_the_installed_kit(clean, tmp_path):
    shutil.copytree(FIXTURE / "tests", tmp_path / "tests")
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path / "tests")
    done = clean.run(clean.python, *words, OBI_KERNEL="require")
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


def counted(port, name):
    return sum(
        sample.value
        for family in text_string_to_metric_families(get(port, "/metrics"))
        for sample in family.samples
        if sample.name == "obi_heartbeat_execs_total" and sample.labels.get("process_executable_name") == name
    )


def until(condition, agent, deadline_s=30):
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        assert agent.poll() is None, agent.communicate()
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("never")
