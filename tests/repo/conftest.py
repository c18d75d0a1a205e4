"""What the repository's tests look at: the tree, its modules, their imports."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Import:
    """One imported name: `from a.b import c` and `import a.b.c` are both `a.b.c`."""

    path: Path
    line: int
    target: str
    in_function: bool
    type_checking: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.target}"


class Tree:
    """The source tree that these tests lie in."""

    root = Path(__file__).resolve().parents[2]

    def python(self, *folders: str) -> list[Path]:
        """Python files below the folders, relative to the root."""
        return sorted(path.relative_to(self.root) for folder in folders for path in (self.root / folder).rglob("*.py"))

    def parse(self, path: Path) -> ast.Module:
        return ast.parse((self.root / path).read_text(), str(path))

    def imports(self, path: Path) -> list[Import]:
        """Every import of a file, wherever in it; relative ones made absolute as far as the file's folders go."""
        return list(self._imports(path, self.parse(path), in_function=False, type_checking=False))

    def _imports(self, path: Path, node: ast.AST, *, in_function: bool, type_checking: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            targets: list[str] = []
            if isinstance(child, ast.Import):
                targets = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                package = ".".join(path.parts[: -child.level]) if child.level else ""
                module = ".".join(filter(None, (package, child.module)))
                targets = [f"{module}.{alias.name}" for alias in child.names]
            for target in targets:
                yield Import(path, child.lineno, target, in_function, type_checking)  # type: ignore[attr-defined]
            yield from self._imports(
                path,
                child,
                in_function=in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda),
                type_checking=type_checking or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)),
            )

    def plugins(self) -> list[Path]:
        """Folders of the plugins' distributions."""
        return sorted(path.parent for path in (self.root / "plugins").glob("*/pyproject.toml"))

    def texts(self) -> Iterator[tuple[Path, str]]:
        """Every file that a clone would have, where it is text."""
        made = {".git", ".venv", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__", "build", "dist"}
        for path in sorted(self.root.rglob("*")):
            relative = path.relative_to(self.root)
            if made.isdisjoint(relative.parts) and path.is_file() and not path.name.endswith((".bpf.o", ".bcc.c", ".pyc")):
                try:
                    yield relative, path.read_text()
                except UnicodeDecodeError:
                    continue


@pytest.fixture(scope="session")
def tree() -> Tree:
    return Tree()
