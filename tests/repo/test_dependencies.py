"""What is needed is declared, what is declared is pinned, and nothing says where it comes from."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OWN_SOURCE = {"hatchling": "obi_core/hatch.py", "pytest": "obi_core/testing/"}
"""Needed by one corner only: the build, the test kit. Whoever uses that has them."""
PART_OF_ANOTHER = {"pydantic_core": "pydantic"}
"""Pinned exactly by the package that it is a part of."""
OF_THE_DISTRIBUTION = {"bcc"}
"""Not from an index: python3-bpfcc."""


def projects(tree):
    files = [tree.root / "pyproject.toml", *(folder / "pyproject.toml" for folder in tree.plugins())]
    return [tomllib.loads(path.read_text()) for path in files]


def pins(tree):
    lines = [line for line in (tree.root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def declared(project, *extras):
    lines = [*project["project"].get("dependencies", ())]
    for extra in extras:
        lines += project["project"]["optional-dependencies"][extra]
    return {canonicalize_name(Requirement(line).name) for line in lines}


def test_constraints_are_exact_versions_and_nothing_else(tree):
    for line in (tree.root / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+!]*", line), line


def test_every_dependency_and_what_it_depends_on_is_pinned(tree):
    core, *plugins = projects(tree)
    own = {project["project"]["name"] for project in (core, *plugins)}
    build = {canonicalize_name(Requirement(line).name) for line in core["build-system"]["requires"]}
    todo = declared(core, "test", "dev") | build | set().union(*map(declared, plugins))
    pinned, seen = pins(tree), set()
    while todo:
        name = todo.pop()
        if name in own or name in seen:
            continue
        seen.add(name)
        assert name in pinned, f"{name} is not in constraints.txt"
        try:
            needs = [Requirement(line) for line in requires(name) or ()]
        except ModuleNotFoundError:  # an extra that is not installed here
            continue
        todo |= {canonicalize_name(need.name) for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})}


def test_what_the_core_imports_it_declares(tree):
    distributions = packages_distributions()
    known = declared(projects(tree)[0])
    undeclared = set()
    for path in tree.python("obi_core"):
        for found in tree.imports(path):
            first = found.target.split(".")[0]
            first = PART_OF_ANOTHER.get(first, first)
            if first in sys.stdlib_module_names or first in OF_THE_DISTRIBUTION | {"obi_core"}:
                continue
            if first in OWN_SOURCE and str(path).startswith(OWN_SOURCE[first]):
                continue
            if not {canonicalize_name(name) for name in distributions.get(first, [first])} & known:
                undeclared.add(str(found))
    assert sorted(undeclared) == []


def test_pypis_package_that_is_called_bcc_is_never_asked_for(tree):
    core, *plugins = projects(tree)
    assert "bcc" not in declared(core, "test", "dev").union(*map(declared, plugins)) | pins(tree).keys()


def test_no_file_names_a_package_index_or_a_registry(tree):
    hosts = [r"pypi\.org", r"pythonhosted", r"artifactory", r"nexus", r"docker\.io", r"(?:ghcr|quay|gcr)\.io"]
    options = [r"--(?:extra-)?index-url", r"--find-links", r"--trusted-host", r"PIP_(?:EXTRA_)?INDEX"]
    pattern = re.compile("|".join(hosts + options))
    named = [
        f"{path}:{number}"
        for path, text in tree.texts()
        if path.name != "test_dependencies.py"
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert named == []
