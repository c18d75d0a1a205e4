"""The core's layers: a module imports only from below; architecture.md's table, kept by walking every import."""

import subprocess
import sys
from pathlib import Path

LAYERS = (
    ("errors", "reason", "model", "btf", "elf", "decode"),
    ("settings", "host"),
    ("cgroups", "facts"),
    ("kernel",),
    ("probe", "sink", "resolver", "hookspecs"),
    ("identity",),
    ("bus",),
    ("sinks",),
    ("runtime",),
    ("cli",),
    ("__main__",),
)
LAYER = {module: number for number, modules in enumerate(LAYERS) for module in modules}
OUTSIDE = {"__init__", "testing", "hatch"}
"""The lazy front, the test kit and the build hook stand beside the layers."""
HEAVY = {"bcc", "grpc", "opentelemetry", "pyroute2", "requests", "rich"}
"""Cost megabytes or seconds; who needs one imports it in the function that does."""


def room(path: Path) -> str:
    """The top-level module of the core that a file belongs to."""
    return path.parts[1].removesuffix(".py")


def inside(tree, path):
    """The core's modules that a file imports, by room; a bare name of the package root is its own room."""
    for found in tree.imports(path):
        parts = found.target.split(".")
        if parts[0] == "obi_core":
            yield found, parts[1] if len(parts) > 1 else ""


def test_every_module_of_the_core_has_its_place_in_the_table(tree):
    rooms = {room(path) for path in tree.python("obi_core")}
    assert sorted(rooms - LAYER.keys() - OUTSIDE) == []


def test_a_module_imports_only_from_layers_below_its_own(tree):
    upward = [
        str(found)
        for path in tree.python("obi_core")
        if room(path) in LAYER
        for found, target in inside(tree, path)
        if target in LAYER and target != room(path) and LAYER[target] >= LAYER[room(path)] and not siblings(room(path), target)
    ]
    assert upward == []


def siblings(importer: str, target: str) -> bool:
    """Layer 0 and the contracts are each one room of several files; in those, order alone keeps them free of circles."""
    return LAYER[importer] == LAYER[target] and LAYER[importer] in {0, LAYER["probe"]}


def test_nothing_inside_imports_names_from_the_package_root(tree):
    from_root = [
        str(found)
        for path in tree.python("obi_core")
        if room(path) != "__init__"
        for found, target in inside(tree, path)
        if target not in LAYER and target not in OUTSIDE - {"__init__"}
    ]
    assert from_root == []


def test_nothing_in_the_core_imports_the_test_kit_or_the_build_hook(tree):
    found = [
        str(found)
        for path in tree.python("obi_core")
        if room(path) not in {"testing", "hatch"}
        for found, target in inside(tree, path)
        if target in {"testing", "hatch"}
    ]
    assert found == []


def test_heavy_packages_are_imported_inside_functions_only(tree):
    early = [
        str(found)
        for path in tree.python("obi_core", "plugins")
        if "tests" not in path.parts
        for found in tree.imports(path)
        if found.target.split(".")[0] in HEAVY and not found.in_function and not found.type_checking
    ]
    assert early == []


def test_importing_the_whole_core_brings_in_no_heavy_package(tree):
    modules = [
        ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for path in tree.python("obi_core")
        if room(path) not in {"testing", "hatch", "__main__"}
    ]
    program = (
        f"import importlib, sys; [importlib.import_module(name) for name in {modules}]; print({HEAVY} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tree.root, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_the_build_hook_needs_hatchling_and_the_standard_library_only(tree):
    others = {found.target.split(".")[0] for found in tree.imports(Path("obi_core/hatch.py"))}
    assert others - sys.stdlib_module_names == {"hatchling"}


def test_no_code_asks_whether_it_is_under_test(tree):
    asking = [
        f"{path}:{number}"
        for path in tree.python("obi_core", "plugins")
        if not {"testing", "tests"} & set(path.parts)
        for number, line in enumerate((tree.root / path).read_text().splitlines(), 1)
        if "PYTEST_" in line or '"pytest"' in line
    ]
    assert asking == []


def test_no_module_holds_an_instance_that_can_change(tree):
    """Constants of ours are frozen values and enums; everything that lives and changes is made by somebody and passed in."""
    import dataclasses
    import enum
    import importlib

    living = []
    for path in tree.python("obi_core"):
        if room(path) in {"testing", "hatch", "__main__"}:
            continue
        module = importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
        for name, value in vars(module).items():
            kind = type(value)
            frozen = dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen
            if (
                kind.__module__.split(".")[0] == "obi_core"
                and not frozen
                and not isinstance(value, enum.Enum | type | enum.EnumMeta)
            ):
                living.append(f"{path}: {name}")
    assert living == []


def test_no_file_is_longer_than_300_lines(tree):
    long = [str(path) for path in tree.python("obi_core", "plugins") if len((tree.root / path).read_text().splitlines()) > 300]
    assert long == []
