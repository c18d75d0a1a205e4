"""The build hook, with the real compiler: what it makes, packs, skips and says."""

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from obi_core import hatch

ROOT = Path(hatch.__file__).resolve().parent.parent

SOURCE = """\
#include <obi/obi.h>
#include "toy.h"

OBI_HASH(toy_count, u32, u64, 16);
OBI_RING(toy_ring, 4096);
OBI_RECORD(toy_ring, struct toy_event);

SEC("raw_tracepoint/sched_process_exec")
int toy_exec(void *ctx)
{
	struct toy_event event = { .kind = 7 };
	u32 key = 0;

	OBI_ADD(toy_count, &key, 1);
	OBI_EMIT(toy_ring, &event);
	return 0;
}
"""

THREE_LINES = """\
[build-system]
requires = ["hatchling", "obi-core"]
build-backend = "hatchling.build"
[tool.hatch.build.hooks.obi-bpf]
[project]
name = "toy"
version = "1.0"
"""


@pytest.fixture
def project(tmp_path):
    """A stranger's distribution with one package and one BPF source."""
    root = tmp_path / "project"
    package = root / "toy"
    package.mkdir(parents=True)
    (root / "pyproject.toml").write_text(THREE_LINES)
    (root / ".gitignore").write_text("*.bpf.o\n*.bcc.c\n")
    (package / "__init__.py").touch()
    (package / "toy.h").write_text("struct toy_event { u64 kind; };\n")
    (package / "toy.bpf.c").write_text(SOURCE)
    return root


@pytest.fixture(scope="session")
def core(tmp_path_factory):
    """A copy of what of the tree the core is built from."""
    copy = tmp_path_factory.mktemp("core")
    for name in ("obi_core", "bpf", "LICENSES"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md", ".gitignore"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="session")
def core_wheel(core):
    return packed(core, "wheel")


def hatchling(root, *arguments, **environ):
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", *arguments],
        cwd=root,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def packed(root, target, **environ):
    done = hatchling(root, "-t", target, "-d", "out", **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = (root / "out").glob("*.whl" if target == "wheel" else "*.tar.gz")
    return made


def unpack(sdist):
    subprocess.run(["tar", "-xf", str(sdist), "-C", str(sdist.parent)], check=True)
    return sdist.parent / sdist.name.removesuffix(".tar.gz")


def names(wheel):
    return sorted(name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name)


def built(project):
    return hatch.build([project / "toy"])


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


WHEEL = ["toy/__init__.py", "toy/toy.bcc.c", "toy/toy.bpf.c", "toy/toy.bpf.o", "toy/toy.h"]


def test_a_source_becomes_an_object_and_a_preprocessed_source_beside_it(project):
    assert [path.name for path in built(project)] == ["toy.bpf.o", "toy.bcc.c"]
    assert sorted(path.name for path in (project / "toy").iterdir()) == [
        "__init__.py", "toy.bcc.c", "toy.bpf.c", "toy.bpf.o", "toy.h",
    ]  # fmt: skip


def test_the_object_keeps_its_btf_and_loses_its_dwarf(project):
    toy_object, _ = built(project)
    sections = output("llvm-objdump", "-h", str(toy_object))
    assert ".BTF " in sections
    assert ".BTF.ext " in sections
    assert ".debug_" not in sections


def test_the_type_of_a_ring_buffers_records_is_in_the_btf_though_no_code_uses_it(project):
    toy_object, _ = built(project)
    types = output("bpftool", "btf", "dump", "file", str(toy_object))
    assert "VAR 'obi_record_toy_ring'" in types
    assert "STRUCT 'toy_event' size=8 vlen=1" in types


def test_the_object_does_not_name_the_folders_of_the_machine_that_built_it(project):
    toy_object, _ = built(project)
    content = toy_object.read_bytes()
    assert str(project).encode() not in content
    assert str(Path.cwd()).encode() not in content
    assert str(hatch.include_dir()).encode() not in content


def test_the_preprocessed_source_has_neither_directives_nor_verbs_left(project):
    _, preprocessed = built(project)
    text = preprocessed.read_text()
    assert "toy_exec" in text
    assert "#include" not in text
    assert "#define" not in text
    assert "OBI_ADD(" not in text


def test_three_lines_of_a_strangers_pyproject_put_both_into_its_wheel(project):
    wheel = packed(project, "wheel")
    assert names(wheel) == WHEEL
    assert wheel.name == f"toy-1.0-py3-none-linux_{platform.machine()}.whl"


def test_an_sdist_carries_sources_only_and_its_wheel_is_the_same(project):
    built(project)
    unpacked = unpack(packed(project, "sdist"))
    assert not [path for path in unpacked.rglob("*") if path.name.endswith((".bpf.o", ".bcc.c"))]
    assert names(packed(unpacked, "wheel")) == WHEEL


def test_products_as_old_as_their_source_are_made_anew(project):
    products = built(project)
    for path in (project / "toy").iterdir():
        os.utime(path, ns=(0, 0))
    built(project)
    assert all(path.stat().st_mtime_ns > 0 for path in products)


def test_an_editable_install_finds_both_beside_the_source(project, tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*pip, "--target", str(tmp_path / "site"), "--editable", str(project)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "toy" / "toy.bpf.o").stat().st_size > 0
    assert (project / "toy" / "toy.bcc.c").stat().st_size > 0
    assert not (tmp_path / "site" / "toy").exists()


def test_the_cores_wheel_carries_the_headers(core_wheel):
    headers = {f"obi_core/include/obi/{path.name}" for path in (ROOT / "bpf" / "obi").glob("*.h")}
    assert headers == {name for name in names(core_wheel) if name.startswith("obi_core/include/")}
    assert "obi_core/include/obi/obi.h" in headers


def test_the_cores_sdist_builds_the_same_wheel(core, core_wheel):
    assert names(packed(unpack(packed(core, "sdist")), "wheel")) == names(core_wheel)


def test_a_stranger_builds_against_the_headers_of_the_installed_core(core_wheel, project, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(core_wheel).extractall(site)
    assert names(packed(project, "wheel", PYTHONPATH=str(site))) == WHEEL

    (project / "toy" / "toy.bpf.o").unlink()
    (site / "obi_core" / "include" / "obi" / "histogram.h").write_text("#error from the installed core\n")
    done = hatchling(project, "-t", "wheel", PYTHONPATH=str(site))
    assert f"{site}/obi_core/include/obi/histogram.h:1: from the installed core" in done.stderr + done.stdout


def test_what_is_up_to_date_is_left_alone(project):
    before = [path.stat().st_mtime_ns for path in built(project)]
    assert [path.stat().st_mtime_ns for path in built(project)] == before


@pytest.mark.parametrize("touched", ["toy.bpf.c", "toy.h"])
def test_a_newer_source_or_header_makes_both_anew(project, touched):
    products = built(project)
    for path in products:
        os.utime(path, ns=(0, 0))
    os.utime(project / "toy" / touched, ns=(1, 1))
    built(project)
    assert all(path.stat().st_mtime_ns > 1 for path in products)


def test_a_missing_product_is_made_again(project):
    products = built(project)
    products[1].unlink()
    built(project)
    assert products[1].exists()


def test_an_error_in_the_source_is_one_sentence_with_file_and_line(project):
    source = project / "toy" / "toy.bpf.c"
    source.write_text(SOURCE.replace("return 0;", "return nought;"))
    with pytest.raises(hatch.BuildError) as caught:
        built(project)
    assert str(caught.value) == f"{source}:16: use of undeclared identifier 'nought'"


def test_a_warning_is_an_error_and_further_ones_are_counted(project):
    source = project / "toy" / "toy.bpf.c"
    source.write_text(SOURCE.replace("u32 key = 0;", "u32 key = 0, one, two;"))
    with pytest.raises(hatch.BuildError, match=r"toy\.bpf\.c:12: unused variable 'one' .* \(and 1 more\)$"):
        built(project)


def test_a_failed_build_leaves_the_former_products_and_nothing_half_made(project):
    products = built(project)
    before = [path.read_bytes() for path in products]
    (project / "toy" / "toy.h").write_text("struct toy_event {\n")
    with pytest.raises(hatch.BuildError):
        built(project)
    assert [path.read_bytes() for path in products] == before
    assert not list((project / "toy").glob(".obi-bpf-*"))


def test_hatchling_ends_with_the_sentence_and_no_traceback(project):
    (project / "toy" / "toy.h").write_text("struct toy_event { none kind; };\n")
    done = hatchling(project, "-t", "wheel")
    assert done.returncode == 1
    assert done.stderr.strip() == "obi-bpf: toy/toy.h:1: unknown type name 'none'"
    assert "Traceback" not in done.stdout + done.stderr


def test_a_missing_compiler_is_named_with_the_package_that_brings_it(project, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(hatch.BuildError) as caught:
        built(project)
    assert str(caught.value) == (
        f"clang is not installed and {project}/toy/toy.bpf.c needs it (Debian: apt install clang llvm libbpf-dev)"
    )


def test_a_missing_llvm_strip_is_named_too(project, tmp_path, monkeypatch):
    (tmp_path / "clang").symlink_to(shutil.which("clang"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(hatch.BuildError, match=r"^llvm-strip is not installed and .*toy\.bpf\.c needs it"):
        built(project)


def test_missing_headers_of_libbpf_are_named_with_their_package(project):
    (project / "toy" / "toy.h").write_text("#include <bpf/of_a_later_libbpf.h>\n")
    with pytest.raises(hatch.BuildError, match=r"toy\.h:1: 'bpf/of_a_later_libbpf\.h' file not found; libbpf's headers"):
        built(project)


def test_without_a_distribution_the_module_builds_directories(project, capsys):
    assert hatch.main([str(project)]) == 0
    assert (project / "toy" / "toy.bpf.o").exists()
    assert hatch.main([str(project / "nowhere")]) == 1
    assert capsys.readouterr().err == f"obi-bpf: {project}/nowhere does not exist\n"
