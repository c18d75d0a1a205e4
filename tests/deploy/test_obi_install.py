"""obi-install: wheels that the allow-list names, and no others."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy/image/obi-install"
NAME = "obi_plugin_heartbeat-1.2.0-py3-none-any.whl"
FILES = {
    "obi_plugin_heartbeat/__init__.py": "raise SystemExit('no code of a wheel runs')\n",
    "obi_plugin_heartbeat-1.2.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: obi-plugin-heartbeat\nVersion: 1.2.0\n",
    "obi_plugin_heartbeat-1.2.0.dist-info/entry_points.txt": "[obi.plugins]\nheartbeat = obi_plugin_heartbeat\n",
}


@pytest.fixture
def wheels(tmp_path):
    """Make wheels; gives their folder, with a list of them all."""
    folder = tmp_path / "wheels"
    folder.mkdir()

    def make(name=NAME, files=FILES, listed=True):
        path = folder / name
        with zipfile.ZipFile(path, "w") as archive:
            for each, text in files.items():
                archive.writestr(each, text)
        if listed:
            dist, version = name.split("-")[:2]
            with (folder / "allowed.txt").open("a") as file:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                file.write(f"# reviewed\n{dist.replace('_', '-')}=={version} --hash=sha256:{digest}\n")
        return folder

    return make


def install(folder, to):
    done = subprocess.run([sys.executable, SCRIPT, "--to", to, folder], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_listed_wheel_is_unpacked_and_found_as_a_distribution(wheels, tmp_path):
    to = tmp_path / "plugins"
    assert install(wheels(), to) == (0, f"obi-install: {NAME}: 3 files\n", "")
    script = "from importlib.metadata import entry_points; print([e.name for e in entry_points(group='obi.plugins')])"
    found = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(to)}, capture_output=True, text=True, check=True
    )
    assert "heartbeat" in found.stdout


def test_a_wheel_that_is_not_listed_installs_nothing(wheels, tmp_path):
    wheels()
    folder = wheels("obi_plugin_stranger-1.0-py3-none-any.whl", listed=False)
    status, out, errors = install(folder, tmp_path / "plugins")
    assert (status, out) == (2, "")
    assert errors == "obi-install: obi_plugin_stranger-1.0-py3-none-any.whl is not in allowed.txt\n"
    assert not (tmp_path / "plugins").exists()


def test_another_version_of_a_listed_one_is_not_listed(wheels, tmp_path):
    wheels()
    folder = wheels("obi_plugin_heartbeat-1.3.0-py3-none-any.whl", listed=False)
    assert install(folder, tmp_path / "plugins")[::2] == (
        2, "obi-install: obi_plugin_heartbeat-1.3.0-py3-none-any.whl is not in allowed.txt\n",
    )  # fmt: skip


def test_a_wheel_that_was_changed_is_refused_with_its_hash(wheels, tmp_path):
    folder = wheels()
    with (folder / NAME).open("ab") as file:
        file.write(b"x")
    digest = hashlib.sha256((folder / NAME).read_bytes()).hexdigest()
    assert install(folder, tmp_path / "plugins")[::2] == (
        2, f"obi-install: {NAME} is not the file that allowed.txt means: its sha256 is {digest}\n",
    )  # fmt: skip


def test_a_listed_wheel_that_is_missing_is_told(wheels, tmp_path):
    folder = wheels()
    (folder / NAME).unlink()
    assert install(folder, tmp_path / "plugins")[::2] == (
        2, f"obi-install: allowed.txt lists obi-plugin-heartbeat==1.2.0, and {folder} has no such wheel\n",
    )  # fmt: skip


@pytest.mark.parametrize("path", ["../outside.py", "/etc/outside", "x-1.0.data/scripts/obi"])
def test_a_wheel_that_reaches_elsewhere_is_refused(wheels, tmp_path, path):
    folder = wheels("x-1.0-py3-none-any.whl", {path: "boo"})
    status, _, errors = install(folder, tmp_path / "plugins")
    assert (status, errors) == (2, f"obi-install: x-1.0-py3-none-any.whl has {path}, which is no file of a package\n")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["wheels"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            None,
            "{folder}/allowed.txt: No such file or directory; it must list every wheel as NAME==VERSION --hash=sha256:DIGEST",
        ),
        ("# all\nobi-plugin-heartbeat\n", "{folder}/allowed.txt, line 2: it must be NAME==VERSION --hash=sha256:DIGEST"),
        ("a==1 --hash=md5:00\n", "{folder}/allowed.txt, line 1: it must be NAME==VERSION --hash=sha256:DIGEST"),
    ],
)
def test_a_list_that_is_none_is_refused_with_its_line(wheels, tmp_path, text, sentence):
    folder = wheels(listed=False)
    if text is not None:
        (folder / "allowed.txt").write_text(text)
    assert install(folder, tmp_path / "plugins")[::2] == (2, f"obi-install: {sentence.format(folder=folder)}\n")


def test_what_is_no_zip_is_refused(wheels, tmp_path):
    folder = wheels(listed=False)
    (folder / NAME).write_text("no zip")
    digest = hashlib.sha256(b"no zip").hexdigest()
    (folder / "allowed.txt").write_text(f"obi-plugin-heartbeat==1.2.0 --hash=sha256:{digest}\n")
    assert install(folder, tmp_path / "plugins")[::2] == (2, "obi-install: File is not a zip file\n")
