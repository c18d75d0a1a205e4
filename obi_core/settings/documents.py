"""YAML files with a place for every value: one mapping of sections per file, nothing clever."""

import re
from pathlib import Path
from typing import Final, Protocol

import yaml

from obi_core.errors import ConfigError
from obi_core.settings.origin import Layer, Origin, Place
from obi_core.settings.origin import Path as Dotted

_MOST_BYTES: Final = 1 << 20
"""A configuration file beyond this is a mistake, such as a log with the wrong name."""
_DEEPEST: Final = 20
_POOL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


class _Mark(Protocol):
    """What both of PyYAML's marks have, of the Python and of the C parser."""

    @property
    def line(self) -> int: ...


def read_directory(directory: Path) -> Layer:
    """Read `*.yaml` of `directory`, never of its subdirectories, and merge them by section.

    Raises:
        ConfigError: No such directory, no file in it, malformed YAML, or one section in two files.
    """
    values: dict[str, dict[str, object]] = {}
    places: dict[Dotted, Place] = {}
    for file in _files(directory):
        layer = read_file(file, Origin.FILE)
        for section, body in layer.values.items():
            place = layer.places[section,]
            if section in values:
                raise ConfigError(
                    f'section "{section}" is already in {places[section,]}; a section belongs in one file',
                    file=place.name,
                    line=place.line,
                    key=section,
                )
            values[section] = dict(body)
        places.update(layer.places)
    return Layer(values, places)


def read_pool(directory: Path | None, pool: str) -> Layer:
    """Read `pools/<pool>.yaml` below `directory`.

    Raises:
        ConfigError: There is no directory, no such pool, or its file is malformed.
    """
    if directory is None:
        raise ConfigError(f"pool {pool!r} needs a configuration directory; give one with --config", file="OBI_POOL")
    if not _POOL.fullmatch(pool):
        raise ConfigError(f"{pool!r} is no name of a pool: letters, digits, '-', '_' and '.' are allowed", file="OBI_POOL")
    file = directory / "pools" / f"{pool}.yaml"
    if not file.is_file():
        there = sorted(path.stem for path in (directory / "pools").glob("*.yaml")) if (directory / "pools").is_dir() else []
        known = f"pools there: {', '.join(there)}" if there else "there is no pool at all"
        raise ConfigError(f"no pool {pool!r}: {file} does not exist; {known}", file="OBI_POOL")
    return read_file(file, Origin.POOL)


def read_file(file: Path, origin: Origin) -> Layer:
    """Read one file of sections.

    Raises:
        ConfigError: It cannot be read, or is not a mapping of sections with a mapping each.
    """
    return _Document(file, origin).read()


def _files(directory: Path) -> list[Path]:
    if not directory.exists():
        raise ConfigError("no such directory; --config and OBI_CONFIG name a directory with *.yaml files", file=str(directory))
    if not directory.is_dir():
        raise ConfigError("is not a directory; --config and OBI_CONFIG take the directory that holds it", file=str(directory))
    try:
        entries = sorted(directory.iterdir())
    except OSError as err:
        raise ConfigError(f"cannot be read: {err.strerror}", file=str(directory)) from err
    files = [path for path in entries if path.suffix == ".yaml" and not path.name.startswith(".") and path.is_file()]
    if not files:
        other = next((path.name for path in entries if path.suffix == ".yml"), None)
        hint = f"; rename {other} to {Path(other).stem}.yaml" if other else ""
        raise ConfigError(f"no *.yaml file in this directory{hint}", file=str(directory))
    return files


class _Document:
    """One file on its way from text to a layer."""

    def __init__(self, file: Path, origin: Origin) -> None:
        self._name = str(file)
        self._file = file
        self._origin = origin
        self._places: dict[Dotted, Place] = {}

    def read(self) -> Layer:
        values: dict[str, dict[str, object]] = {}
        root = self._compose()
        if root is not None and not self._empty(root):
            if not isinstance(root, yaml.MappingNode):
                raise self._wrong(root, "must hold sections, such as `agent:` with its keys below it")
            for key, node in self._items(root, ()):
                self._places[key,] = self._place(node[0])
                if isinstance(node[1], yaml.MappingNode):
                    values[key] = self._mapping(node[1], (key,))
                elif self._empty(node[1]):
                    values[key] = {}
                else:
                    message = f'section "{key}" must hold keys with values, such as `interval_s: 10s`'
                    raise self._wrong(node[0], message, (key,))
        return Layer(values, self._places)

    def _compose(self) -> yaml.Node | None:
        try:
            with self._file.open("rb") as stream:
                raw = stream.read(_MOST_BYTES + 1)
        except OSError as err:
            raise ConfigError(f"cannot be read: {err.strerror}", file=self._name) from err
        if len(raw) > _MOST_BYTES:
            raise ConfigError("is larger than 1 MiB; this is no configuration file", file=self._name)
        text = ""
        try:
            text = raw.decode("utf-8-sig")
            self._loader = yaml.SafeLoader(text)
            self._refuse_what_grows(text)
            return self._loader.get_single_node()
        except yaml.MarkedYAMLError as err:
            what = " ".join(part for part in (err.context, err.problem) if part)
            raise self._at(err.problem_mark or err.context_mark, f"malformed YAML: {what}") from err
        except UnicodeDecodeError as err:
            line = raw.count(b"\n", 0, err.start) + 1
            raise ConfigError("malformed YAML: this line is not UTF-8", file=self._name, line=line) from err
        except yaml.reader.ReaderError as err:
            line = text.count("\n", 0, err.position) + 1
            raise ConfigError("malformed YAML: control characters are not allowed", file=self._name, line=line) from err

    def _refuse_what_grows(self, text: str) -> None:
        # A short file of aliases or brackets can cost minutes and gigabytes.
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise self._at(event.start_mark, f"alias *{event.anchor} is not allowed; write the value out")
            if depth > _DEEPEST:
                raise self._at(event.start_mark, "nested too deeply")

    def _items(self, mapping: yaml.MappingNode, path: Dotted) -> list[tuple[str, tuple[yaml.Node, yaml.Node]]]:
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, node in mapping.value:
            key = self._scalar(key_node, path) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise self._wrong(key_node, "a key must be text; write it in quotes", path)
            if key in found:
                first = found[key][0].start_mark.line + 1
                raise self._wrong(key_node, f'key "{key}" is already in line {first}', (*path, key))
            found[key] = (key_node, node)
        return list(found.items())

    def _mapping(self, mapping: yaml.MappingNode, path: Dotted) -> dict[str, object]:
        values: dict[str, object] = {}
        for key, (key_node, node) in self._items(mapping, path):
            self._places[*path, key] = self._place(key_node)
            values[key] = self._value(node, (*path, key))
        return values

    def _value(self, node: yaml.Node, path: Dotted) -> object:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._places[*path, str(index)] = self._place(item)
            return [self._value(item, (*path, str(index))) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: Dotted) -> object:
        try:
            value: object = self._loader.construct_object(node, deep=True)
        except (yaml.MarkedYAMLError, ValueError) as err:
            what = err.problem if isinstance(err, yaml.MarkedYAMLError) else str(err)
            raise self._wrong(node, f"malformed YAML: {what}", path) from err
        return value

    @staticmethod
    def _empty(node: yaml.Node) -> bool:
        return node.tag == "tag:yaml.org,2002:null"

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._origin, self._name, node.start_mark.line + 1)

    def _wrong(self, node: yaml.Node, message: str, path: Dotted = ()) -> ConfigError:
        return self._at(node.start_mark, message, path)

    def _at(self, mark: _Mark | None, message: str, path: Dotted = ()) -> ConfigError:
        line = None if mark is None else mark.line + 1
        return ConfigError(message, file=self._name, line=line, key=".".join(path) or None)
