"""The commands that others script, and the files that every clone has."""

import os
import re
import subprocess
import tomllib

import pytest


@pytest.mark.parametrize(
    "target", ["setup", "run", "test", "bench", "lint", "bpf", "dashboards", "image", "image-test", "clean", "help"]
)
def test_make_knows_the_target(tree, target):
    done = subprocess.run(["make", "-n", target], cwd=tree.root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_make_alone_lists_the_targets(tree):
    done = subprocess.run(["make", "--no-print-directory"], cwd=tree.root, capture_output=True, text=True, check=True)
    assert re.findall(r"^make ([a-z-]+)", done.stdout, re.MULTILINE) == [
        "help", "setup", "run", "test", "kernels", "bench", "lint", "dashboards", "image", "image-test", "bpf", "clean",
    ]  # fmt: skip


def test_the_ci_command_is_a_program_and_requires_the_kernel(tree):
    assert os.access(tree.root / ".ci" / "run", os.X_OK)
    assert "OBI_KERNEL=require make --no-print-directory test" in (tree.root / ".ci" / "run").read_text()


def test_setup_refuses_a_level_that_it_does_not_know(tree):
    done = subprocess.run(["tools/setup", "fly"], cwd=tree.root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "setup: unknown level fly: run, test, lint or image\n")


def test_every_bpf_source_and_header_says_under_which_licences_it_is(tree):
    files = [path for folder in ("bpf", "plugins", "tests") for path in (tree.root / folder).rglob("*.[ch]")]
    first = "/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */"
    silent = [
        str(path.relative_to(tree.root))
        for path in files
        if not path.name.endswith(".bcc.c") and path.read_text().partition("\n")[0] not in {first, "//" + first[2:-3]}
    ]
    assert silent == []


def test_pre_commit_runs_local_hooks_only(tree):
    repos = re.findall(r"^\s*- repo: (.*)$", (tree.root / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert repos == ["local"]


def test_every_exemption_of_a_linter_has_its_reason(tree):
    text = (tree.root / "pyproject.toml").read_text()
    settings = tomllib.loads(text)["tool"]
    codes = [*settings["ruff"]["lint"]["ignore"], *settings["ruff"]["lint"]["per-file-ignores"]["**/tests/**"]]
    assert [code for code in codes if not re.search(rf'"{code}",\s+# \S', text)] == []
    for found in settings["pytest"]["ini_options"]["filterwarnings"]:
        assert found == "error" or re.search(rf'"{re.escape(found)}",?\s+# \S', text)


def test_no_exemption_in_the_code_is_without_its_reason(tree):
    """`# noqa: X - why`, or the line above says why."""
    bare = []
    for path in tree.python("obi_core", "plugins"):
        lines = (tree.root / path).read_text().splitlines()
        for number, line in enumerate(lines):
            if re.search(r"# noqa(?!: [A-Z0-9, ]+ - \S)", line) and not lines[number - 1].lstrip().startswith("#"):
                bare.append(f"{path}:{number + 1}")
    assert bare == []


def test_pytest_loads_the_test_kits_plugin_once(pytestconfig):
    names = [
        name
        for name, plugin in pytestconfig.pluginmanager.list_name_plugin()
        if getattr(plugin, "__name__", "") == "obi_core.testing.plugin"
    ]
    assert names == ["obi"]
