"""The program as its users start it: a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _environment(extra):
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("OBI_", "OTEL_"))}
    return {**clean, **extra}


@pytest.fixture
def obi():
    """Run `obi …` to its end."""

    def run(*words, prefix=(), **environ):
        return subprocess.run(
            [*prefix, sys.executable, "-m", "obi_core", *map(str, words)],
            cwd=ROOT,
            env=_environment(environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=25,
        )

    return run


@pytest.fixture
def start_obi():
    """Start `obi …`; what still runs at the end of the test is killed."""
    started = []

    def start(*words, **environ):
        process = subprocess.Popen(
            [sys.executable, "-m", "obi_core", *map(str, words)],
            cwd=ROOT,
            env=_environment(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def plugin_folder(tmp_path):
    """Install plugins into a folder for PYTHONPATH, as pip would: a module and its metadata."""
    folder = tmp_path / "site"
    folder.mkdir()

    def install(name, source):
        dist = folder / f"obi_plugin_{name}-1.0.dist-info"
        dist.mkdir()
        (dist / "METADATA").write_text(f"Metadata-Version: 2.1\nName: obi-plugin-{name}\nVersion: 1.0\n")
        (dist / "entry_points.txt").write_text(f"[obi.plugins]\n{name} = obi_plugin_{name}\n")
        (folder / f"obi_plugin_{name}.py").write_text(source)
        return folder

    return install


_VICTORIA = "victoria-metrics"


@pytest.fixture(scope="session")
def victoria_program():
    """VictoriaMetrics of Debian trixie, unpacked once below the user's cache; it runs on bookworm too."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "obi/stores"
    program = home / "usr/bin" / _VICTORIA
    if not program.exists():
        problem = _unpack(home, "trixie", _VICTORIA)
        if problem:
            if os.environ.get("OBI_KERNEL") == "require":
                pytest.fail(problem)
            pytest.skip(problem)  # never under `require`: a stranger without apt has no store to ask
    return program


@pytest.fixture(scope="module")
def store(victoria_program, tmp_path_factory):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    data, log = tmp_path_factory.mktemp("victoria"), tmp_path_factory.mktemp("log") / "log"
    words = (f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}", "-search.latencyOffset=0s")
    with log.open("w") as said:
        process = subprocess.Popen(
            [victoria_program, *words, "-opentelemetry.usePrometheusNaming", "-memory.allowedBytes=64MB"], stderr=said
        )
    address = f"127.0.0.1:{port}"
    until = time.monotonic() + 20
    while not _answers(address):
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < until, log.read_text()[-2000:]
        time.sleep(0.05)
    yield address
    process.kill()
    process.wait()


def _answers(address):
    try:
        with urllib.request.urlopen(f"http://{address}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _unpack(home, suite, package):
    """Fetch a package of another suite through apt, from where this machine's apt has Debian from; what went wrong, if so."""
    targets = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian")
    try:
        found = subprocess.run(targets, capture_output=True, text=True, check=False, timeout=30).stdout.split()
    except OSError:
        return "there is no apt here"
    if not found:
        return "apt knows no Debian to fetch VictoriaMetrics from"
    root = home / "apt"
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    signed = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
    (root / "sources.list").write_text(f"deb {signed}{found[0]} {suite} main\n")
    options = [
        f"Dir::State={root}/state",
        "Dir::State::status=/dev/null",
        f"Dir::Cache={root}/cache",
        f"Dir::Etc::sourcelist={root}/sources.list",
        "Dir::Etc::sourceparts=-",
        "Acquire::Languages=none",
        "APT::Sandbox::User=root",
    ]
    words = [word for option in options for word in ("-o", option)]
    for command in ("update", "download"):
        what = [package] if command == "download" else []
        done = subprocess.run(
            ["apt-get", *words, command, "-qq", *what], cwd=root, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            return f"apt cannot {command} {package} of {suite}: {done.stderr.strip()[-200:]}"
    (archive,) = root.glob(f"{package}_*.deb")
    done = subprocess.run(["dpkg-deb", "-x", archive, home], capture_output=True, text=True, check=False)
    archive.unlink()
    return done.stderr if done.returncode else ""
