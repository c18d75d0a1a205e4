"""Print what the tree's distributions need from a package index, one requirement per line, ours left out.

Usage: tools/requirements.py [EXTRA...]; extras are those of the root's pyproject.toml.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(extras: list[str]) -> None:
    """Read every pyproject.toml of the tree; our own distributions are installed from it, never looked up."""
    projects = [tomllib.loads(path.read_text()) for path in (ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml"))]
    own = {project["project"]["name"] for project in projects}
    wanted = {line for project in projects for line in project["build-system"]["requires"]}
    wanted |= {line for project in projects for line in project["project"].get("dependencies", ())}
    wanted |= {line for extra in extras for line in projects[0]["project"]["optional-dependencies"][extra]}
    wanted.add("editables")  # hatchling's own need for editable installs
    for line in sorted(wanted):
        if re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] not in own:
            sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
