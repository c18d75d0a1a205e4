"""The spool: what it accepted is there, in order, bounded; what is damaged is dropped and counted."""

import random
import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest

from obi_core.bus.moment import Moment
from obi_core.bus.request import Request
from obi_core.bus.spool import Spool, SpoolError

HOUR_NS = 3_600_000_000_000


class Clock:
    def __init__(self):
        self.real_ns, self.mono_ns = 1_800_000_000_000_000_000, 5

    def __call__(self):
        return Moment(self.real_ns, self.mono_ns)

    def pass_s(self, seconds):
        self.real_ns += int(seconds * 1e9)
        self.mono_ns += int(seconds * 1e9)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lost():
    return []


@pytest.fixture
def make(tmp_path, clock, lost):
    opened = []

    def made(folder=tmp_path, max_bytes=1 << 20, max_age_s=86_400.0):
        spool = Spool(folder / "traces.db", "traces", max_bytes, max_age_s, lambda *what: lost.append(what), clock)
        opened.append(spool)
        return spool

    yield made
    for spool in opened:
        spool.close()


def request(number, items=1, size=100):
    return Request("traces", random.Random(number).randbytes(size), items, {"tcp": items})


def drain(spool):
    found = []
    while (kept := spool.oldest()) is not None:
        found.append(spool.load(kept))
        if found[-1] is not None:
            spool.remove(kept)
    return [each for each in found if each is not None]


def test_what_was_accepted_comes_out_oldest_first_also_after_a_restart(make):
    spool = make()
    spool.append([request(1), request(2, items=5)])
    spool.append([request(3)])
    assert (len(spool), spool.items) == (3, 7)
    spool.close()
    again = make()
    assert (len(again), again.items) == (3, 7)
    assert drain(again) == [request(1), request(2, items=5), request(3)]
    assert (len(again), again.items, again.bytes) == (0, 0, 0)
    again.close()
    assert drain(make()) == []


def test_a_record_older_than_one_that_is_named_is_found_and_no_younger_one(make):
    spool = make()
    first, second = spool.append([request(1), request(2)])
    assert spool.oldest(before=second.seq) == first
    assert spool.oldest(before=first.seq) is None


def test_beyond_its_bytes_the_oldest_go_and_are_counted(make, lost):
    spool = make(max_bytes=5_000)
    for number in range(10):
        spool.append([request(number, size=1_000)])
    assert spool.bytes <= 5_000
    assert lost == [("spool_full", 1, {"tcp": 1})] * 6
    assert drain(spool) == [request(number, size=1_000) for number in range(6, 10)]


def test_past_its_age_a_request_goes_and_is_counted(make, clock, lost):
    spool = make(max_age_s=60)
    spool.append([request(1, items=3)])
    clock.pass_s(40)
    spool.append([request(2)])
    clock.pass_s(30)
    assert drain(spool) == [request(2)]
    assert lost == [("spool_age", 3, {"tcp": 3})]


@pytest.mark.parametrize("jump_ns", [HOUR_NS, -HOUR_NS])
def test_a_clock_that_is_set_by_an_hour_ages_nothing(make, clock, lost, jump_ns):
    spool = make(max_age_s=600)
    spool.append([request(1)])
    clock.real_ns += jump_ns
    spool.append([request(2)])
    clock.real_ns -= jump_ns
    assert drain(spool) == [request(1), request(2)]
    assert lost == []


def test_a_clock_that_went_back_over_a_restart_lets_nothing_stay_for_ever(make, clock, lost):
    spool = make(max_age_s=600)
    spool.append([request(1)])
    spool.close()
    clock.real_ns -= HOUR_NS
    again = make(max_age_s=600)
    clock.pass_s(601)
    assert drain(again) == []
    assert lost == [("spool_age", 1, {"tcp": 1})]


def test_two_agents_do_not_share_a_file(make):
    make().append([request(1)])
    with pytest.raises(SpoolError, match=r"the spool .*traces\.db cannot be used: database is locked"):
        make()


def test_a_folder_that_cannot_be_made_is_said(make, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="file cannot be written"):
        make(tmp_path / "file")


def test_a_record_with_a_flipped_bit_is_dropped_and_counted(make, tmp_path, lost):
    spool = make()
    spool.append([request(1), request(2, items=4), request(3)])
    spool.close()
    with closing(sqlite3.connect(tmp_path / "traces.db")) as database, database:
        (body,) = database.execute("SELECT body FROM requests WHERE seq = 2").fetchone()
        flipped = bytes([body[0], body[1], body[2] ^ 1]) + body[3:]
        database.execute("UPDATE requests SET body = ? WHERE seq = 2", (flipped,))
    assert drain(make()) == [request(1), request(3)]
    assert lost == [("damaged", 4, {})]


def snapshot(source, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


@pytest.mark.parametrize("part", ["traces.db-wal", "traces.db"])
def test_cut_at_any_byte_it_opens_again_with_whole_records_and_counts_the_rest(make, tmp_path, lost, part):
    """Power goes at some byte: whatever of the file is on the disk, what comes out is what went in, and it adds up."""
    source = tmp_path / "source"
    spool = make(source)
    for number in range(12):
        spool.append([request(number, items=number + 1, size=600)])
    total = spool.items
    if part == "traces.db":
        spool.close()
    size = (source / part).stat().st_size
    chosen = random.Random(20260101)
    for cut in sorted({0, 1, size - 1, *(chosen.randrange(size) for _ in range(60))}):
        target = tmp_path / "target"
        snapshot(source, target)
        with (target / part).open("r+b") as file:
            file.truncate(cut)
        lost.clear()
        again = make(target)
        found = drain(again)
        again.close()
        numbers = [each.items - 1 for each in found]
        assert numbers == sorted(numbers)
        assert found == [request(number, items=number + 1, size=600) for number in numbers], cut
        assert sum(each.items for each in found) + sum(items for _, items, _ in lost) == total, cut
        assert {cause for cause, _, _ in lost} <= {"damaged"}


def test_overwritten_with_noise_at_any_place_it_opens_again_and_adds_up(make, tmp_path, lost):
    source = tmp_path / "source"
    spool = make(source)
    for number in range(40):
        spool.append([request(number, items=2, size=900)])
    spool.close()
    size = (source / "traces.db").stat().st_size
    chosen = random.Random(7)
    for _ in range(40):
        target = tmp_path / "target"
        snapshot(source, target)
        with (target / "traces.db").open("r+b") as file:
            file.seek(chosen.randrange(size - 700))
            file.write(chosen.randbytes(700))
        lost.clear()
        again = make(target)
        found = drain(again)
        again.close()
        known = {request(number, items=2, size=900).payload for number in range(40)}
        assert {each.payload for each in found} <= known
        assert 2 * len(found) + sum(items for _, items, _ in lost) == 80


def mounted(path, *options):
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", path], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny"
    mounted(path, "-o", "size=256k")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_refuses_and_takes_nothing_away_and_takes_again_when_there_is_room(make, tiny, lost):
    spool = make(tiny)
    accepted = []

    def fill():
        for number in range(100):
            spool.append([request(number, size=8_000)])
            accepted.append(number)

    with pytest.raises(SpoolError, match="full"):
        fill()
    assert 5 < len(accepted) < 40
    assert len(spool) == len(accepted)
    first = spool.oldest()
    assert spool.load(first) == request(0, size=8_000)
    subprocess.run(["mount", "-o", "remount,size=4m", tiny], check=True)
    spool.append([request(200, size=8_000)])
    assert drain(spool) == [request(number, size=8_000) for number in [*accepted, 200]]
    assert lost == []


def test_a_disk_that_became_read_only_refuses_and_what_is_there_can_still_be_sent(make, tiny, lost):
    spool = make(tiny)
    spool.append([request(1)])
    spool.close()
    subprocess.run(["mount", "-o", "remount,ro", tiny], check=True)
    with pytest.raises(SpoolError):
        make(tiny)
    assert lost == []
