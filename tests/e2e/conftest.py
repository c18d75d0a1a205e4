"""The program as its users start it: a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
