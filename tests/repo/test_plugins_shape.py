"""Every plugin has one shape, and comes in by the door that strangers use."""

import ast
import inspect
import sys
import tomllib
from pathlib import Path

import obi_core
from obi_core import hookspecs


def packages(tree):
    """(plugin's name, its package's folder), for every plugin of the tree."""
    return [(folder.name, folder / f"obi_plugin_{folder.name}") for folder in tree.plugins()]


def test_there_are_plugins(tree):
    assert "tcp" in [folder.name for folder in tree.plugins()]
    assert sorted(path.name for path in (tree.root / "plugins").iterdir()) == [folder.name for folder in tree.plugins()]


def test_every_plugin_has_the_same_files(tree):
    missing = [
        str((folder / name).relative_to(tree.root))
        for folder in tree.plugins()
        for name in (
            "README.md",
            *(f"obi_plugin_{folder.name}/{stem}.py" for stem in ("__init__", "probe", "readers", "settings")),
            f"obi_plugin_{folder.name}/{folder.name}.bpf.c",
            "tests",
        )
        if not (folder / name).exists()
    ]
    assert missing == []


def test_every_plugin_has_tests_of_its_own(tree):
    assert [folder.name for folder in tree.plugins() if not list((folder / "tests").glob("test_*.py"))] == []


def test_distribution_entry_point_and_package_carry_the_plugins_name(tree):
    for folder in tree.plugins():
        project = tomllib.loads((folder / "pyproject.toml").read_text())
        name = folder.name
        assert project["project"]["name"] == f"obi-plugin-{name}"
        assert project["project"]["entry-points"] == {"obi.plugins": {name: f"obi_plugin_{name}"}}
        assert "obi-core" in project["build-system"]["requires"]
        assert project["tool"]["hatch"]["build"]["hooks"] == {"obi-bpf": {}}


def test_all_distributions_of_the_tree_carry_one_version(tree):
    files = [tree.root / "pyproject.toml", *(folder / "pyproject.toml" for folder in tree.plugins())]
    assert {tomllib.loads(path.read_text())["project"]["version"] for path in files} == {obi_core.__version__}


def test_a_plugins_package_holds_the_hook_implementation_only(tree):
    for _, package in packages(tree):
        module = ast.parse((package / "__init__.py").read_text())
        rest = [node for node in module.body if not isinstance(node, ast.Import | ast.ImportFrom)]
        assert isinstance(rest.pop(0), ast.Expr), f"{package.name} has no docstring"
        functions = [node for node in rest if isinstance(node, ast.FunctionDef)]
        assert [node for node in rest if not isinstance(node, ast.FunctionDef | ast.Assign)] == []
        assert functions
        for function in functions:
            assert [ast.unparse(decorator) for decorator in function.decorator_list] == ["hookimpl"]
            assert hasattr(hookspecs, function.name)


def test_a_plugin_imports_the_public_names_the_standard_library_pydantic_and_itself(tree):
    strange = []
    for name, package in packages(tree):
        for path in tree.python(str(package.relative_to(tree.root))):
            for found in tree.imports(path):
                first, _, rest = found.target.partition(".")
                itself = found.target.startswith((f"plugins.{name}.obi_plugin_{name}", f"obi_plugin_{name}"))
                public = first == "obi_core" and rest in obi_core.__all__
                if not (itself or public or first == "pydantic" or first in sys.stdlib_module_names):
                    strange.append(str(found))
    assert strange == []


def test_a_plugins_tests_import_the_public_names_and_the_test_kit(tree):
    strange = []
    for folder in tree.plugins():
        for path in tree.python(str((folder / "tests").relative_to(tree.root))):
            for found in tree.imports(path):
                first, _, rest = found.target.partition(".")
                if first == "obi_core" and rest not in obi_core.__all__ and rest.split(".")[0] != "testing":
                    strange.append(str(found))
    assert strange == []


def test_a_plugin_does_not_import_another(tree):
    own = {f"obi_plugin_{name}" for name, _ in packages(tree)}
    strange = [
        str(found)
        for folder in tree.plugins()
        for path in tree.python(str(folder.relative_to(tree.root)))
        for found in tree.imports(path)
        if found.target.split(".")[0] in own - {f"obi_plugin_{folder.name}"}
    ]
    assert strange == []


def test_every_hook_is_documented_with_all_its_arguments():
    hooks = {name: value for name, value in vars(hookspecs).items() if name.startswith("obi_")}
    assert hooks
    for name, hook in hooks.items():
        text = inspect.getdoc(hook) or ""
        assert text, f"{name} has no docstring"
        assert [argument for argument in inspect.signature(hook).parameters if argument not in text] == []


def test_the_public_surface_is_sorted_and_every_name_is_there():
    assert sorted(obi_core.__all__) == list(obi_core.__all__)
    assert [name for name in obi_core.__all__ if not hasattr(obi_core, name)] == []


def test_the_package_roots_exist(tree):
    """A folder without __init__.py is no package to hatchling's eyes, nor to mypy's."""
    folders = {path.parent for path in tree.python("obi_core")}
    assert sorted(str(folder) for folder in folders if not (tree.root / folder / "__init__.py").exists()) == []
    assert Path("obi_core") in folders
