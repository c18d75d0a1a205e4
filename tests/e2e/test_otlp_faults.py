"""What goes wrong between us and a store, each with an exact account: sent = received + counted."""

import socket
import subprocess
import time
from email.utils import formatdate
from itertools import pairwise

import pytest

from obi_core.testing.otlp import Behaviour, Clock, Drive, OtlpReceiver, encoded, received_ids

HANG_UP = Behaviour(hang_up=True)


@pytest.fixture
def receiver():
    with OtlpReceiver() as made:
        yield made


@pytest.fixture
def drive(receiver, tmp_path):
    made = []

    def start(protocol="http", *, spool=True, write="failed", folder=tmp_path / "spool", clock=None, **otlp):
        spool_settings = {"directory": str(folder), "write": write} if spool else {}
        otlp = {"protocol": protocol, "timeout_s": 10.0, **otlp}
        made.append(Drive(getattr(receiver, protocol), spool_settings, clock or Clock(), otlp))
        return made[-1]

    yield start
    for each in made:
        each.lane.stop()
        each.lane.park()


def messages(caplog, level="WARNING"):
    return [record.getMessage() for record in caplog.records if record.levelname == level and "obi_core" in record.name]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("spool", [True, False])
@pytest.mark.parametrize("write", ["failed", "always"])
def test_a_store_that_is_down_for_ten_minutes_gets_everything_once_and_oldest_first(
    receiver, drive, caplog, protocol, spool, write
):
    sender = drive(protocol, spool=spool, write=write)
    sender.run(30, every=10)
    receiver.down()
    caplog.set_level("INFO")
    sender.run(600, every=10)
    assert sender.tally.retries >= 15
    assert sender.balanced()
    waits = {True: sender.tally.spooled, False: sender.tally.queued}
    assert (waits[spool], waits[not spool]) == (180, 0)
    assert sender.tally.spool_state == ("ok" if spool else "off")
    warned = messages(caplog)
    assert 9 <= len(warned) <= 12  # once a minute
    assert warned[0].startswith("cannot export logs to ")
    receiver.up()
    sender.run(60, every=10)
    sender.settle()
    assert received_ids(receiver) == list(range(sender.made))
    assert sender.tally.sent == sender.tally.enqueued == sender.made
    assert messages(caplog, "INFO")[-1].startswith("logs are exported to ")


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_store_that_comes_and_goes_every_few_seconds_gets_everything_once(receiver, drive, caplog, protocol):
    sender = drive(protocol, retry_most_s=4.0)
    receiver.behaviour = lambda _: HANG_UP if int(sender.clock.now_s / 3) % 2 else Behaviour()
    caplog.set_level("INFO")
    sender.run(300, every=1)
    receiver.behaviour = Behaviour()
    sender.settle()
    assert sorted(received_ids(receiver)) == list(range(sender.made))
    assert sender.tally.sent == sender.made == 900
    assert sender.tally.retries >= 20
    assert len(messages(caplog)) <= 6
    assert len(messages(caplog, "INFO")) <= 6


@pytest.mark.parametrize("form", ["seconds", "date", "retry_info"])
def test_a_store_that_asks_for_time_gets_it(receiver, drive, form):
    sender = drive("grpc" if form == "retry_info" else "http")
    tried = []

    def answer(_):
        tried.append(sender.clock.now_s)
        if len(tried) > 2:
            return Behaviour()
        if form == "retry_info":
            return Behaviour(code="RESOURCE_EXHAUSTED", retry_info_s=40.5)
        after = "40" if form == "seconds" else formatdate(time.time() + 41, usegmt=True)
        return Behaviour(status=429, headers=(("Retry-After", after),))

    receiver.behaviour = answer
    sender.offer()
    sender.settle()
    assert len(tried) == 3
    assert all(40 <= later - before <= 55 for before, later in pairwise(tried))
    assert received_ids(receiver) == [0, 1, 2]
    assert (sender.tally.sent, sender.tally.retries) == (3, 2)


def test_without_a_wish_waits_double_up_to_the_most_and_the_jitter_is_a_fifth(receiver, drive):
    sender = drive(retry_first_s=1.0, retry_most_s=10.0)
    tried = []

    def answer(_):
        tried.append(sender.clock.now_s)
        return Behaviour(status=503) if len(tried) < 8 else Behaviour()

    receiver.behaviour = answer
    sender.offer()
    sender.settle()
    waits = [round(later - before, 2) for before, later in pairwise(tried)]
    assert waits == [1, 2, 4, 8, 10, 10, 10]  # a chance of 0.5 is the middle
    sender.lane._chance = lambda: 1.0
    tried.clear()
    sender.offer()
    sender.settle()
    assert [round(b - a, 2) for a, b in pairwise(tried)] == [1.2, 2.4, 4.8, 9.6, 12, 12, 12]


def test_after_the_total_limit_a_request_is_given_up_and_counted(receiver, drive, caplog):
    sender = drive(retry_total_s=120.0)
    receiver.behaviour = Behaviour(status=503)
    sender.offer()
    sender.run(300)
    assert sender.tally.dropped["retry_limit"] == 3
    assert sender.balanced()
    assert sender.undelivered == [("tcp", "spool", 3)]
    assert "they could not be sent within retry_total_s" in caplog.text


@pytest.mark.parametrize(
    ("protocol", "behaviour", "reason"),
    [
        ("http", Behaviour(status=400, body="entry too far behind"), "bad_request"),
        ("http", Behaviour(status=404), "not_found"),
        ("http", Behaviour(status=401, body="no org id"), "unauthorized"),
        ("http", Behaviour(status=413), "too_large"),
        ("http", Behaviour(status=500), "other"),
        ("grpc", Behaviour(code="INVALID_ARGUMENT"), "bad_request"),
        ("grpc", Behaviour(code="UNIMPLEMENTED"), "not_found"),
        ("grpc", Behaviour(code="UNAUTHENTICATED"), "unauthorized"),
        ("grpc", Behaviour(code="RESOURCE_EXHAUSTED", body="no RetryInfo"), "other"),
        ("grpc", Behaviour(code="INTERNAL"), "other"),
    ],
)
def test_what_is_refused_for_good_is_never_sent_again(receiver, drive, caplog, protocol, behaviour, reason):
    sender = drive(protocol)
    receiver.behaviour = behaviour
    sender.run(300, every=30)
    assert len(receiver.refused) == 10
    assert sender.tally.failed[reason] == sender.made == 30
    assert (sender.tally.retries, sender.tally.sent, sender.balanced()) == (0, 0, True)
    assert sum(number for _, place, number in sender.undelivered if place == "rejected") == 30
    assert len(messages(caplog)) == 5  # once a minute
    assert ", and it will not be tried again: " in messages(caplog)[0]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_http_calls_temporary_is_tried_again(receiver, drive, status):
    sender = drive()
    receiver.behaviour = lambda _: Behaviour(status=status) if len(receiver.refused) < 2 else Behaviour()
    sender.offer()
    sender.settle()
    assert (sender.tally.sent, sender.tally.retries) == (3, 2)


@pytest.mark.parametrize("code", ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"])
def test_what_grpc_calls_temporary_is_tried_again(receiver, drive, code):
    sender = drive("grpc")
    receiver.behaviour = lambda _: Behaviour(code=code) if len(receiver.refused) < 2 else Behaviour()
    sender.offer()
    sender.settle()
    assert (sender.tally.sent, sender.tally.retries) == (3, 2)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_items_that_are_rejected_are_counted_and_not_sent_again(receiver, drive, caplog, protocol):
    sender = drive(protocol)
    receiver.behaviour = Behaviour(rejected=2, message="out of order")
    for _ in range(4):
        sender.offer(5)
    sender.settle()
    assert (sender.tally.sent, sender.tally.rejected, len(receiver.requests)) == (12, 8, 4)
    assert sender.balanced()
    assert sum(number for _, place, number in sender.undelivered if place == "rejected") == 8
    assert [text for text in messages(caplog) if "rejected 2 of them: out of order" in text] == messages(caplog)


def test_a_warning_that_comes_with_a_success_is_said(receiver, drive, caplog):
    receiver.behaviour = Behaviour(message="deprecated")
    sender = drive()
    sender.offer()
    sender.settle()
    assert sender.tally.sent == 3
    assert messages(caplog)[0].endswith("took logs and says: deprecated")


@pytest.mark.parametrize(
    "behaviour", [Behaviour(cut=True), Behaviour(cut=True, message="x" * 50), Behaviour(drip_s=1.0), HANG_UP]
)
def test_an_answer_that_does_not_come_whole_makes_as_many_duplicates_as_there_were_of_them(receiver, drive, behaviour):
    sender = drive(timeout_s=0.2, spool=False)
    broken = []

    def answer(received):
        if len(broken) < 3:
            broken.append(received)
            return behaviour
        return Behaviour()

    receiver.behaviour = answer
    for _ in range(5):
        sender.offer()
    sender.settle()
    ids = received_ids(receiver)
    assert set(ids) == set(range(15))
    assert len(ids) - 15 == (0 if behaviour.hang_up else 9)
    assert (sender.tally.sent, sender.tally.retries) == (15, 3)
    assert sender.balanced()


def test_one_byte_a_second_is_not_waited_for_beyond_the_timeout(receiver, drive, caplog):
    sender = drive(timeout_s=0.3, spool=False)
    receiver.behaviour = Behaviour(drip_s=0.1)
    sender.offer()
    sender.lane.step()
    assert messages(caplog)[0].endswith("no answer within 0.3 s")


@pytest.mark.parametrize("jump_s", [3600, -3600])
@pytest.mark.parametrize("write", ["failed", "always"])
def test_a_clock_that_jumps_an_hour_back_and_forth_loses_nothing(receiver, drive, jump_s, write):
    sender = drive(write=write, retry_total_s=1800.0)
    receiver.behaviour = HANG_UP
    for turn in range(6):
        sender.run(60, every=10)
        sender.clock.real_ns += int(jump_s * 1e9) * (1 if turn % 2 else -1)
    receiver.behaviour = Behaviour()
    sender.settle()
    assert received_ids(receiver) == list(range(sender.made))
    assert sender.tally.sent == sender.made


def test_the_queue_is_bounded_in_items_the_oldest_go_and_are_counted(receiver, drive, caplog):
    sender = drive(spool=False, queue_items=30)
    receiver.behaviour = HANG_UP
    sender.run(300, every=10)
    assert (sender.tally.queued, sender.tally.dropped["queue_full"]) == (30, 60)
    receiver.behaviour = Behaviour()
    sender.settle()
    assert received_ids(receiver) == list(range(60, 90))
    assert sender.made == sender.tally.sent + 60
    assert sum(number for _, place, number in sender.undelivered if place == "queue") == 60
    assert "the queue in memory is full; a spool.directory would keep them" in caplog.text


def test_the_queue_is_bounded_in_bytes(receiver, drive):
    size = len(encoded(range(3)).payload)
    sender = drive(spool=False, queue_bytes=max(4096, 12 * size))
    receiver.behaviour = HANG_UP
    sender.run(400, every=10)
    assert sender.lane._queue.bytes <= max(4096, 12 * size)
    assert sender.tally.dropped["queue_full"] > 0
    assert sender.balanced()


def test_a_restart_goes_on_where_it_was(receiver, drive):
    receiver.behaviour = HANG_UP
    first = drive()
    first.run(100, every=10)
    first.lane.park()
    receiver.behaviour = Behaviour()
    second = drive(clock=first.clock)
    second.made = first.made
    second.offer()
    second.settle()
    assert received_ids(receiver) == list(range(33))
    assert second.tally.enqueued == second.tally.sent == 33


def test_an_end_in_the_middle_of_a_connect_or_of_an_answer_puts_everything_on_disk(receiver, drive, tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        fillers = []
        for _ in range(3):  # a full backlog leaves the next connect without an answer
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
            fillers.append(filler)
        sender = Drive(
            f"127.0.0.1:{deaf.getsockname()[1]}", {"directory": str(tmp_path / "spool")}, Clock(), {"timeout_s": 60.0}
        )
        sender.lane.start()
        sender.offer()
        while sender.lane._queue.items:  # until it is under way
            time.sleep(0.01)
        sender.offer()
        sender.lane.stop()
        assert not sender.lane._thread.is_alive()
        assert (sender.tally.spooled, sum(sender.tally.dropped.values())) == (6, 0)
        for filler in fillers:
            filler.close()
    receiver.behaviour = Behaviour(drip_s=0.05)
    middle = drive(timeout_s=60.0)
    middle.lane.start()
    receiver.wait(lambda: bool(receiver.requests))
    middle.lane.stop()
    assert not middle.lane._thread.is_alive()
    assert middle.tally.spooled == 6


def test_what_waits_at_the_end_without_a_spool_is_counted(receiver, drive):
    receiver.behaviour = HANG_UP
    sender = drive(spool=False)
    sender.run(20, every=10)
    sender.lane.park()
    assert sender.tally.dropped["shutdown"] == sender.made
    assert sender.balanced()


def test_a_long_backlog_is_drained_oldest_first_and_nothing_new_waits_for_all_of_it(receiver, drive):
    receiver.behaviour = HANG_UP
    sender = drive()
    sender.run(1000, every=5)
    backlog = sender.made
    assert backlog == 600

    def slow(_):
        sender.clock.pass_s(1)  # each request takes a second
        return Behaviour()

    receiver.behaviour = slow
    waited, pending = [], {}
    while sender.tally.spooled or not waited:
        if receiver.requests and len(receiver.requests) % 10 == 0:
            pending[sender.made] = sender.clock.now_s
            sender.offer(1)
        sender.clock.pass_s(sender.lane.step())
        arrived = [number for number in pending if number in received_ids(receiver)[-3:]]
        waited += [sender.clock.now_s - pending.pop(number) for number in arrived]
    ids = received_ids(receiver)
    old = [number for number in ids if number < backlog]
    assert old == list(range(backlog))
    assert len(waited) > 5
    assert max(waited) < 60
    assert len(set(ids)) == len(ids)


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny"
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", path], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.parametrize("write", ["failed", "always"])
def test_a_full_disk_means_memory_only_loudly_and_everything_arrives_all_the_same(receiver, drive, tiny, caplog, write):
    sender = drive(folder=tiny / "spool", write=write)
    receiver.behaviour = HANG_UP
    sender.run(600, every=2, items=100)
    assert sender.tally.spool_state == "memory_only"
    assert sender.tally.queued > 0
    assert sender.tally.spooled > 0
    assert sender.balanced()
    said = [text for text in messages(caplog, "ERROR") if "logs wait in memory only: the spool" in text]
    assert said
    assert "full" in said[0]
    assert len(said) <= 11
    receiver.behaviour = Behaviour()
    sender.settle()
    ids = received_ids(receiver)
    assert len(ids) == sender.tally.sent
    assert sender.made == len(set(ids)) + sum(sender.tally.dropped.values())
    assert len(ids) == len(set(ids))


def test_a_disk_that_is_read_only_means_memory_only_and_is_used_when_it_can_be(receiver, drive, tiny, caplog):
    subprocess.run(["mount", "-o", "remount,ro", tiny], check=True)
    sender = drive(folder=tiny / "spool")
    receiver.behaviour = HANG_UP
    sender.run(60, every=10)
    assert (sender.tally.spool_state, sender.tally.queued) == ("memory_only", sender.made)
    assert "logs wait in memory only" in messages(caplog, "ERROR")[0]
    subprocess.run(["mount", "-o", "remount,rw", tiny], check=True)
    sender.run(60, every=10)
    assert (sender.tally.spool_state, sender.tally.spooled) == ("ok", sender.made)
    receiver.behaviour = Behaviour()
    sender.settle()
    assert received_ids(receiver) == list(range(sender.made))
