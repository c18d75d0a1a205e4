"""Plugins that nobody should trust, at the door: what `obi plugins list` says of each, and what it costs the others.

All of them are installed and listed at once, so whatever one does, the others' lines show that it did it to itself alone.
"""

import json
import os
import re
import subprocess
import sys

import pytest

GOOD = """
from obi_core import Instrument, Kind, Mode, Observation, Probe, ProbeSettings, Program, Sink, View, Column, hookimpl
class Thing(Probe):
    name = "NAME"
    settings_type = ProbeSettings
    instruments = (Instrument("obi.NAME.things", Kind.COUNTER, "{thing}", "Things.", ("kind",)),)
    views = (View("things", "Things", (Column("thing"),)),)
    modes = (Mode("proc"),)
    def collect(self):
        return ()
@hookimpl
def obi_register_probes():
    return (Thing,)
"""
RETURN = "return (Thing,)"
INSTRUMENTS = 'Instrument("obi.NAME.things", Kind.COUNTER, "{thing}", "Things.", ("kind",)),'
MODES = 'modes = (Mode("proc"),)'
VIEWS = 'View("things", "Things", (Column("thing"),))'

BAD = {
    # name: (what stands in GOOD, what stands there instead, reason, sentence)
    "text": (RETURN, "return 'Thing'", "wrong_type", "obi_register_probes returned 'Thing', which is not a tuple of classes"),
    "none": (RETURN, "return None", "wrong_type", "obi_register_probes returned None, which is not a tuple of classes"),
    "number": (RETURN, "return 42", "wrong_type", "obi_register_probes returned 42, which is not a tuple of classes"),
    "mapping": (RETURN, "return {Thing: 1}", "wrong_type", "obi_register_probes returned {*, which is not a tuple of classes"),
    "instance": (RETURN, "return (2.5,)", "wrong_type", "announces 2.5, which is not a class"),
    "noprobe": (RETURN, "return (dict,)", "wrong_type", "announces dict, which is not a Probe"),
    "endless": (
        RETURN,
        "return iter(lambda: Thing, None)",
        "wrong_type",
        "announces 16 probes; one plugin is one probe",
    ),
    "nohook": ("@hookimpl", "", "wrong_type", "implements no hook; mark obi_register_probes with @hookimpl"),
    "misspelt": (
        "def obi_register_probes",
        "def obi_register_probe",
        "wrong_type",
        "implements 'obi_register_probe', which is no hook of OBI; nearest is obi_register_probes",
    ),
    "raising": (RETURN, "raise RuntimeError('no\\n\\x1b[31mluck')", "import_raised", "* raised RuntimeError: no ?[31mluck; *"),
    "mute": (
        RETURN,
        "raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})()",
        "import_raised",
        "* raised Mute, which cannot be shown; *",
    ),
    "importing": ("from obi_core", "import no_such_module\nfrom obi_core", "import_raised", "* raised ModuleNotFoundError: *"),
    "leaving": ("from obi_core", "raise SystemExit(3)\nfrom obi_core", "import_raised", "* raised SystemExit: 3; *"),
    "cancelled": ("from obi_core", "raise GeneratorExit\nfrom obi_core", "import_raised", "* raised GeneratorExit: ; *"),
    "broken": ("from obi_core", "syntax error\nfrom obi_core", "import_raised", "* raised SyntaxError: *"),
    "older": (MODES, f"api_version = (0, 9); {MODES}", "wrong_api", "Thing is made for API 0.9, this agent has 1.0: *"),
    "versioned": (MODES, f"api_version = '1.0'; {MODES}", "wrong_type", "Thing.api_version is '1.0', which is not a pair *"),
    "renamed": ('name = "NAME"', 'name = "tcp"', "wrong_type", "Thing.name is 'tcp', its entry point is called 'renamed'"),
    "modeless": (MODES, "modes = ()", "wrong_type", "Thing.modes is empty; a probe has at least one way to work"),
    "listed": (MODES, "modes = [Mode('proc')]", "wrong_type", "Thing.modes is not a tuple of Mode"),
    "needy": (
        MODES,
        "modes = (Mode('proc', needs=('luck',)),)",
        "wrong_type",
        "mode proc needs 'luck', which is no known word; known are: cap:NAME, *",
    ),
    "wordy": (MODES, "modes = (Mode('proc', loses='all'),)", "wrong_type", "mode proc has needs or losses that are not *"),
    "twice": (MODES, "modes = (Mode('proc'), Mode('proc'))", "wrong_type", "two modes are called 'proc'; rename one"),
    "programs": (
        MODES,
        "modes = (Mode('proc', ('a',)),)",
        "wrong_type",
        "mode proc has programs that are not a tuple of Program",
    ),
    "cname": (MODES, "modes = (Mode('proc', (Program('a b'),)),)", "wrong_type", "mode proc has a program Program(*"),
    "strange": (INSTRUMENTS, "1,", "wrong_type", "Thing.instruments is not a tuple of Instrument"),
    "spoofing": (
        '"obi.NAME.things"',
        '"obi.tcp.connects"',
        "wrong_type",
        "an instrument is called 'obi.tcp.connects'; its name must be obi.spoofing.NOUN, *",
    ),
    "kindless": ("Kind.COUNTER", "'counter'", "wrong_type", "obi.kindless.things has the kind 'counter' and the fold *"),
    "bucketless": ("Kind.COUNTER", "Kind.HISTOGRAM", "wrong_type", "obi.bucketless.things is a histogram without buckets"),
    "attributes": (
        '("kind",)',
        '"kind"',
        "wrong_type",
        "obi.attributes.things declares the attributes 'kind', which is not *",
    ),
    "headline": (
        '("kind",)',
        '("kind",), headline=({"kid": "1"},)',
        "wrong_type",
        "obi.headline.things has a headline that is not *",
    ),
    "doubled": (INSTRUMENTS, INSTRUMENTS * 2, "wrong_type", "two instruments are called 'obi.doubled.things'; rename one"),
    "viewless": (VIEWS, "'things'", "wrong_type", "Thing.views is not a tuple of View"),
    "columns": ('(Column("thing"),)', '("thing",)', "wrong_type", "view things has columns that are not a tuple of Column"),
    "ordered": ('(Column("thing"),)', '(Column("thing"),), "age"', "wrong_type", "view things is sorted by 'age', which is *"),
    "settled": ("= ProbeSettings", "= dict", "wrong_type", "Thing.settings_type is not a ProbeSettings class"),
    "abstract": ("def collect", "def gather", "wrong_type", "Thing does not define collect"),
    "dumb": ("def collect(self):\n        return ()", "collect = None", "wrong_type", "Thing.collect is not a method"),
    "clinging": (
        "def collect",
        "def detach(self): pass\n    def collect",
        "wrong_type",
        "Thing defines detach, which is the core's; what it opens belongs on self._open",
    ),
    "sinking": (
        "@hookimpl",
        "@hookimpl\ndef obi_register_sinks():\n    return (dict,)\n@hookimpl",
        "wrong_type",
        "announces dict as a sink, which is not a Sink",
    ),
    "sinkless": (
        "@hookimpl",
        "class Paper(Sink):\n    name = 'paper'\n@hookimpl\ndef obi_register_sinks():\n    return (Paper,)\n@hookimpl",
        "wrong_type",
        "Paper does not define create, start",
    ),
    "resolving": (
        "@hookimpl",
        "@hookimpl\ndef obi_register_resolvers():\n    return (7,)\n@hookimpl",
        "wrong_type",
        "announces 7 as a resolver, which is not a class",
    ),
}


class Folder:
    """Installed distributions, on PYTHONPATH."""

    def __init__(self, path):
        self.path = path

    def install(self, name, source, *, dist=None, entries=None):
        dist = dist or f"stranger-{name}"
        module = f"m_{dist.replace('-', '_')}"
        info = self.path / f"{dist.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[obi.plugins]\n" + (entries or f"{name} = {module}\n"))
        trace = f"open({str(self.path / ('imported-' + module))!r}, 'w').close()\n"
        (self.path / f"{module}.py").write_text(trace + source)
        return module

    def imported(self, module):
        return (self.path / f"imported-{module}").exists()

    def obi(self, *words, **environ):
        clean = {name: text for name, text in os.environ.items() if not name.startswith(("OBI_", "OTEL_"))}
        return subprocess.run(
            [sys.executable, "-m", "obi_core", *map(str, words)],
            env={**clean, "PYTHONPATH": str(self.path), **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=25,
        )


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture(scope="module")
def all_at_once(tmp_path_factory):
    """Every bad plugin and two good ones, listed together: the document, the lines."""
    folder = Folder(tmp_path_factory.mktemp("strangers"))
    for name, (old, new, _, _) in BAD.items():
        source = GOOD.replace(old, new, 1)
        assert source != GOOD, name
        folder.install(name, source.replace("NAME", name))
    folder.install("early", GOOD.replace("NAME", "early"))
    folder.install("late", GOOD.replace("NAME", "late"))
    listed = ",".join(("early", *BAD, "late"))
    document = folder.obi("plugins", "list", "--json", "--plugins", listed)
    text = folder.obi("plugins", "list", "--plugins", listed)
    assert (document.returncode, text.returncode) == (0, 0), document.stderr + text.stderr
    return json.loads(document.stdout)["plugins"], text.stdout.splitlines()


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_one_clear_line_with_its_reason(all_at_once, name):
    plugins, lines = all_at_once
    _, _, reason, pattern = BAD[name]
    (plugin,) = [plugin for plugin in plugins if plugin["name"] == name]
    assert (plugin["enabled"], plugin["reason"], plugin["modes"]) == (False, reason, [])
    assert matches(plugin["detail"], pattern), plugin["detail"]
    (line,) = [line for line in lines if line.split()[0] == name]
    assert line.isprintable()
    assert " ".join(line.split()).endswith(f"stranger-{name} 1.0 {reason}: {plugin['detail']}")


def matches(text, pattern):
    """Whether a text is a pattern, in which a star is anything."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None


def test_the_others_are_none_the_worse(all_at_once):
    plugins, lines = all_at_once
    enabled = [plugin["name"] for plugin in plugins if plugin["enabled"]]
    assert enabled == ["early", "late"]
    assert len(lines) == len(plugins), "one line each"


def test_a_name_that_cannot_be_a_section_is_refused_before_any_import(folder):
    module = folder.install("spaced", GOOD, entries="my probe = m_stranger_spaced\n")
    done = folder.obi("plugins", "list", "--json", "--plugins", "my probe")
    (plugin,) = [plugin for plugin in json.loads(done.stdout)["plugins"] if plugin["name"] == "my probe"]
    assert plugin["reason"] == "wrong_type"
    assert plugin["detail"] == (
        "its entry point is called 'my probe'; a name is a letter, then letters, digits and _, all small"
    )
    assert not folder.imported(module)


def test_a_stranger_that_calls_its_plugin_tcp_is_named_as_such_and_not_imported(folder):
    module = folder.install("tcp", GOOD.replace("NAME", "tcp"), dist="evil")
    for words in (("--plugins", "tcp"), ()):
        lines = folder.obi("plugins", "list", *words).stdout.splitlines()
        assert [" ".join(line.split()) for line in lines if " evil " in line] == [
            'tcp evil 1.0 not_listed: not imported: "tcp" means obi-plugin-tcp; to run this one in its place, list "tcp@evil"'
        ]
        assert [line.split()[1] for line in lines if " enabled" in line and line.startswith("tcp ")] == ["obi-plugin-tcp"]
    assert not folder.imported(module)
    assert "enabled" in folder.obi("plugins", "list", "--plugins", "tcp@evil").stdout
    assert folder.imported(module)


def test_of_two_that_announce_one_name_neither_is_imported(folder):
    modules = [folder.install("disk", GOOD.replace("NAME", "disk"), dist=dist) for dist in ("a-disk", "b-disk")]
    plugins = json.loads(folder.obi("plugins", "list", "--json", "--plugins", "disk").stdout)["plugins"]
    assert {plugin["reason"] for plugin in plugins if plugin["name"] == "disk"} == {"duplicate"}
    assert [folder.imported(module) for module in modules] == [False, False]


def test_one_distribution_that_announces_a_name_twice_is_not_imported(folder):
    module = folder.install("disk", GOOD, dist="a-disk", entries="disk = m_a_disk\ndisk = m_a_disk:other\n")
    done = folder.obi("plugins", "list", "--plugins", "disk@a-disk")
    assert 'duplicate: a-disk announces "disk" 2 times; uninstall it' in " ".join(done.stdout.split())
    assert not folder.imported(module)
