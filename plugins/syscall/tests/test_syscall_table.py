"""The table of system calls: made from the kernel's headers, resolved for one machine, forgiving of typing errors."""

import pytest

from obi_core.testing.plugin import policy
from obi_plugin_syscall.groups import Groups
from obi_plugin_syscall.headers import HEADERS
from obi_plugin_syscall.headers import numbers as in_headers
from obi_plugin_syscall.table import CLASSES, NUMBERS, OTHER, Flag, Table, numbers

COMPAT = NUMBERS
"""Where 32-bit numbers begin."""


@pytest.mark.parametrize("abi", HEADERS)
def test_the_numbers_that_are_shipped_are_those_of_the_headers(abi):
    shipped = numbers(abi)
    assert len(shipped) > 300
    if not HEADERS[abi].present:
        lacks = f"no headers of {abi}: install the package {HEADERS[abi].package}"
        if policy() == "require":
            pytest.fail(lacks)
        # Not in continuous integration, see above: a stranger's machine, told what is missing.
        pytest.skip(lacks)  # never under `require`, which has failed above
    found = in_headers(abi)
    # Newer headers may know more.
    assert {name: found.get(name) for name in shipped} == shipped


@pytest.mark.parametrize(
    ("abi", "known"),
    [
        ("x86_64", {"read": 0, "openat": 257, "getppid": 110, "exit_group": 231, "clone3": 435}),
        ("i386", {"read": 3, "open": 5, "getppid": 64, "exit_group": 252, "clone3": 435}),
        ("arm64", {"read": 63, "openat": 56, "getppid": 173, "exit_group": 94, "clone3": 435}),
        ("arm", {"read": 3, "open": 5, "getppid": 64, "exit_group": 248, "clone3": 435}),
    ],
)
def test_numbers_that_anybody_can_look_up(abi, known):
    assert {name: numbers(abi)[name] for name in known} == known


def test_all_numbers_have_a_place_and_no_two_calls_share_one():
    for abi in HEADERS:
        found = [number for number in numbers(abi).values() if number < NUMBERS]
        assert len(set(found)) == len(found), abi


def test_every_call_that_a_group_names_exists_somewhere_and_all_of_them_can_be_told_apart():
    groups = Groups.read()
    known = {name for abi in HEADERS for name in numbers(abi)}
    named = [name for group in groups.named.values() for name in group]
    assert {*named, *groups.blocking, *groups.forks, *groups.ends} - known == set()
    assert len(set(named)) == len(named) < CLASSES


def test_a_named_call_has_a_class_in_both_halves_and_is_timed():
    table = Table.of(["openat", "getppid"], machine="x86_64")

    assert table.classes == (OTHER, "openat", "getppid")
    assert table.entries[257] == 1 | Flag.TIMED
    assert table.entries[COMPAT + 295] == 1 | Flag.TIMED
    assert table.entries[COMPAT + 64] == 2 | Flag.TIMED
    assert 64 not in table.entries, "64-bit semget is nobody's business here"
    assert (table.name(257), table.name(COMPAT + 295), table.name(2 * NUMBERS)) == ("openat", "openat", OTHER)


def test_arm64_has_its_own_numbers_and_no_open():
    table = Table.of(["open", "openat"], machine="aarch64")

    assert table.classes == (OTHER, "open", "openat"), "32-bit arm has open"
    assert table.entries[56] == 2 | Flag.TIMED
    assert table.entries[COMPAT + 5] == 1 | Flag.TIMED
    assert table.remarks == ()


def test_a_machine_that_is_not_known_has_no_names():
    table = Table.of(["openat"], machine="riscv64")
    assert (table.classes, table.entries) == ((OTHER,), {})


def test_forks_and_ends_are_known_also_where_nobody_named_them():
    table = Table.of([], machine="x86_64")

    assert table.entries == {
        56: Flag.FORKS,
        57: Flag.FORKS,
        58: Flag.FORKS,
        435: Flag.FORKS,
        60: Flag.ENDS,
        231: Flag.ENDS,
        COMPAT + 120: Flag.FORKS,
        COMPAT + 2: Flag.FORKS,
        COMPAT + 190: Flag.FORKS,
        COMPAT + 435: Flag.FORKS,
        COMPAT + 1: Flag.ENDS,
        COMPAT + 252: Flag.ENDS,
    }


@pytest.mark.parametrize(
    ("given", "flags"),
    [({}, 0), ({"blocking": True}, Flag.TIMED), ({"blocking": True, "timed": False}, 0)],
    ids=["default", "asked for", "no latency at all"],
)
def test_a_call_that_waits_for_others_is_timed_only_if_asked_for(given, flags):
    assert Table.of(["poll"], machine="x86_64", **given).entries[7] == 1 | flags


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("opennat", "did you mean 'openat'?"),
        ("netwrok", "did you mean 'network'?"),
        ("READ", "did you mean 'read'?"),
        ("xyzzyx", "groups are file, network, process, memory"),
    ],
)
def test_an_unknown_name_is_left_out_with_one_line_that_says_the_nearest(word, hint):
    table = Table.of(["openat", word, "getppid"])

    assert table.remarks == (f"no system call and no group is called {word!r}, so it is left out; {hint}",)
    assert table.classes == (OTHER, "openat", "getppid")


def test_more_names_than_can_be_told_apart_are_left_out_with_one_line():
    names = list(numbers("x86_64"))
    table = Table.of(names, machine="x86_64")

    assert table.classes == (OTHER, *names[: CLASSES - 1])
    assert table.remarks == (
        f"{len(names)} calls are named and 255 can be told apart: those from {names[255]!r} on are left out",
    )
    assert max(entry & 0xFF for entry in table.entries.values()) == 255
