"""The page at `/`: what it shows, what it escapes, and under which names it is refused."""

import http.client
from html.parser import HTMLParser

import pytest

from obi_core.host import Host
from obi_core.model import ProbeState, Reason
from obi_core.runtime.door import Door
from obi_core.runtime.health import routes
from obi_core.runtime.page import known, named, page
from obi_core.runtime.status import Status
from obi_core.settings import HttpSettings, Listen

EVIL = "<script>alert(1)</script>"
STATUSES = (
    Status(
        "tcp", ProbeState.ATTACHED, Reason.OK, "tp_btf", ("obi.tcp.rtt",), sheds=("samples 2 times less",), over="kernel_cpu"
    ),
    Status("bad", ProbeState.QUARANTINED, Reason.STEP_RAISED, detail=f"RuntimeError: {EVIL}' onload='x"),
)
BUDGETS = {
    "enforced": True,
    "cpus": 0.0123,
    "cpus_allowed": 0.1,
    "memory_bytes": 61_000_000,
    "memory_allowed_bytes": 200_000_000,
    "over": [],
    "kernel_cost": "measured",
    "probes": {
        "tcp": {
            "kernel_cpus": None,
            "user_cpus": 0.001,
            "events_per_s": 2.0,
            "series": 7,
            "map_bytes": 8_000_000,
            "programs": {},
            "nearest_budget": "map_memory",
            "used": 0.119,
        }
    },
}
DOCUMENT = {
    "version": "1.0",
    "node": {"kernel": "6.18"},
    "probes": {
        each.probe: {**each.full(), "lost": {"queue": 3, "kernel": 0} if each.probe == "tcp" else {}} for each in STATUSES
    },
    "budgets": BUDGETS,
    "metrics": {"listen": "127.0.0.1:9090"},
}


class Cells(HTMLParser):
    """Texts of cells and paragraphs, links, and every tag."""

    def __init__(self, text) -> None:
        super().__init__()
        self.tags, self.names, self.rows, self.links, self._open = set(), set(), [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.names |= {name for name, _ in attributes}
        self._open = tag
        if tag == "tr":
            self.rows.append([])
        if tag == "a":
            self.links.append(dict(attributes)["href"])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self._open in ("td", "th"):
            self.rows[-1][-1] += data

    def handle_endtag(self, tag):
        self._open = ""


@pytest.fixture
def ask():
    door = Door(lambda http: routes(lambda: 0.4, lambda: STATUSES, http.required, lambda: DOCUMENT), Host())
    door.follow(HttpSettings(listen=Listen("127.0.0.1", 0), hosts=("obi.example.com",)))

    def get(path="/", host=None, method="GET"):
        connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=10)
        connection.putrequest(method, path, skip_host=True)
        if host is not None:
            connection.putheader("Host", host)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers

    yield get
    door.stop()


def test_it_shows_where_the_probes_stand_what_they_cost_and_what_was_lost(ask):
    status, text, headers = ask(host="127.0.0.1:8080")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    cells = Cells(text)
    assert ["tcp", "attached", "ok", "tp_btf", "obi.tcp.rtt", "samples 2 times less", ""] in cells.rows
    assert ["bad", "quarantined", "step_raised", "", "", "", f"RuntimeError: {EVIL}' onload='x"] in cells.rows
    assert ["tcp", "not known", "0.0010", "8.0", "7", "2.0", "map_memory", "11.9 %"] in cells.rows
    assert ["tcp", "queue", "3"] in cells.rows
    assert not any(row[-1] == "0" for row in cells.rows), "a place where nothing was lost is no line"
    assert "0.0123 of 0.1 CPUs, 61.0 of 200 MB; cost in the kernel: measured" in text
    assert cells.links == ["/health", "/ready", "/status", "//127.0.0.1:9090/metrics"]


def test_it_has_no_script_and_nothing_from_elsewhere_and_everything_is_escaped(ask):
    _, text, headers = ask(host="localhost")
    assert Cells(text).tags.isdisjoint({"script", "img", "link", "iframe", "object", "form"})
    assert EVIL not in text
    assert Cells(text).names == {"lang", "charset", "name", "content", "http-equiv", "href"}
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1.2.3:8080", "[::1]:8080", "LOCALHOST:8080", "localhost.", "obi.example.com:80"]
)
def test_addresses_localhost_and_the_names_of_the_settings_may_ask_for_it(ask, host):
    assert ask(host=host)[0] == 200


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example"]
)
def test_under_any_other_name_it_is_refused_and_what_programs_ask_for_never_is(ask, host):
    status, text, _ = ask(host=host)
    assert status == 403
    assert "http.hosts" in text
    assert [ask(path, host)[0] for path in ("/health", "/ready", "/status")] == [200, 200, 200]


def test_what_stands_in_a_host_header_is_escaped_like_the_rest(ask):
    assert ask(host=EVIL)[2]["Content-Type"] == "application/json"
    assert "<script>" not in page({}, {}, DOCUMENT, EVIL)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("a.b:80", "a.b"),
        ("[::1]", "::1"),
        ("[fe80::1%eth0]:8080", "fe80::1%eth0"),
        ("::1", "::1"),
        ("a.b:", "a.b"),
        ("a.b:x", "a.b:x"),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header(header, name):
    assert named(header) == name


def test_an_agent_that_has_measured_nothing_has_a_page_too():
    text = page({}, {}, {}, "localhost")
    assert "nothing is measured yet" in text
    assert "none" in text
    assert known("fe80::1%eth0", ())
