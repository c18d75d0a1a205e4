"""The plan of a known workload: how long it takes, what follows from it, and that its page says the same."""

import re
from pathlib import Path

from obi_core.cli.emit_known import _COUNTS
from obi_core.cli.known import LONGEST_ID, PREFIX, SLOWED_PER_S, Done, Plan

PAGE = (Path(__file__).parents[2] / "docs/reference/emit-known.md").read_text()
PLAN = Plan(connections=2, refused=3, resets=5, calls=7, datagrams=11, size=13, rate=0)


def test_what_is_slowed_and_what_is_paced_add_up():
    assert PLAN.seconds() == 8 / SLOWED_PER_S
    assert Plan(2, 3, 5, 7, 11, 13, rate=10).seconds() == (8 + 20) / 10
    assert Plan(2, 3, 5, 7, 11, 13, rate=1000).seconds() == 8 / SLOWED_PER_S + 20 / 1000


def test_the_name_is_shorter_than_what_a_task_can_have():
    assert len(PREFIX) + LONGEST_ID == 14


def test_what_must_be_found_follows_from_the_plan():
    found = [(row.signal, row.name, row.value) for row in Done("known-x", 1, 0.0, 1.0, PLAN).expected()]
    assert found == [
        ("metrics", "obi.tcp.connects", 7),
        ("metrics", "obi.tcp.connects", 7),
        ("metrics", "obi.tcp.connects", 3),
        ("metrics", "obi.tcp.resets", 5),
        ("metrics", "obi.syscall.errors", 7),
        ("metrics", "obi.network.packets", 11),
        ("metrics", "obi.network.io", 11 * 41),
        ("metrics", "obi.network.packets", 11),
        ("metrics", "obi.network.io", 11 * 41),
        ("traces", "tcp connect", 3),
        ("logs", "obi.tcp.reset", 5),
    ]


def test_what_is_not_done_is_not_expected():
    assert Done("known-x", 1, 0.0, 1.0, Plan(0, 0, 0, 1, 0, 13, 0)).expected()[0].name == "obi.syscall.errors"
    assert len(Done("known-x", 1, 0.0, 1.0, Plan(0, 0, 0, 1, 0, 13, 0)).expected()) == 1


def test_the_page_lists_every_flag_with_its_default_and_bound():
    listed = re.findall(r"^\| `--(\w+) N` \| (\d+) \| (\d+) \|", PAGE, re.MULTILINE)
    assert [(name, int(usual), int(most)) for name, usual, most in listed if name != "rate"] == [
        (name, usual, most) for name, (usual, most, _) in _COUNTS.items()
    ]


def test_the_page_lists_what_must_be_found():
    rows = re.findall(r"^\| (metrics|traces|logs) \| `([\w. ]+)` \| (.*) \| .* \|$", PAGE, re.MULTILINE)
    for row in Done("known-x", 1, 0.0, 1.0, PLAN).expected():
        attributes = [
            text for signal, name, text in rows if (signal, name) == (row.signal, row.name) and fits(text, row.attributes)
        ]
        assert attributes, row


def fits(text, attributes):
    present = {name: value for name, value in attributes.items() if value}
    absent = attributes.keys() - present.keys()
    return all(f"no `{name}`" in text for name in absent) and all(
        f"{name}=" in text and value in text for name, value in present.items()
    )
