"""Senders that die at a chosen moment: a process that forks one per line of its standard input and says how it ended.

A line is `POINT NTH FIRST COUNT WRITE`: die when POINT is reached the NTH time, while COUNT requests of two log records each
are handed over, numbered from FIRST. POINT `none` lives until everything is sent. The journal gets a line for what the
spool has accepted and for the place of death.
"""

import os
import signal
import sys

from obi_core.bus.ledger import Ledger
from obi_core.bus.moment import Moment
from obi_core.bus.spool import Spool
from obi_core.settings import CoreSettings
from obi_core.sinks.otlp.http_transport import HttpTransport
from obi_core.sinks.otlp.lane import Lane
from obi_core.sinks.otlp.queue import Queue
from obi_core.sinks.otlp.store import Store
from obi_core.sinks.otlp.transport import destination
from obi_core.testing.otlp import encoded

ENDPOINT, FOLDER, JOURNAL = sys.argv[1:4]


class Fate:
    """Kills this process the nth time that a point is passed."""

    def __init__(self, point, nth, journal):
        self.point, self.left, self.journal = point, nth, journal

    def passes(self, point):
        if point == self.point:
            self.left -= 1
            if not self.left:
                os.write(self.journal, f"died {point}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)


def wrapped(fate, owner, name, before="", after=""):
    method = getattr(owner, name)

    def call(self, *arguments, **named):
        if before:
            fate.passes(before)
        result = method(self, *arguments, **named)
        if after:
            fate.passes(after)
        return result

    setattr(owner, name, call)


def traced(fate):
    """Points inside a transaction: SQLite says each statement before it runs it."""
    opened = Spool._open

    def spying_open(self):
        opened(self)
        state = {"inserted": False, "deleted": False}

        def said(statement):
            if statement.startswith("BEGIN"):
                state.update(inserted=False, deleted=False)
            elif statement.startswith("INSERT"):
                fate.passes("commit")
                state["inserted"] = True
            elif statement.startswith("DELETE"):
                fate.passes("acknowledge")
                state["deleted"] = True
            elif statement.startswith("COMMIT"):
                fate.passes("commit" if state["inserted"] else "acknowledge")

        self._database.set_trace_callback(said)

    Spool._open = spying_open


def live(point, nth, first, count, write):
    journal = os.open(JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    fate = Fate(point, nth, journal)
    wrapped(fate, Queue, "put", before="enqueue", after="enqueue")
    wrapped(fate, HttpTransport, "_answer", before="send", after="acknowledge")  # written and not answered; answered
    wrapped(fate, HttpTransport, "_write", before="send")
    wrapped(fate, Ledger, "write", after="commit")
    traced(fate)
    keep = Spool.append

    def append(self, requests):
        kept = keep(self, requests)
        numbers = " ".join(str(numbers_of[id(request)]) for request in requests)
        os.write(journal, f"kept {numbers}\n".encode())
        return kept

    Spool.append = append
    settings = CoreSettings(
        otlp={"endpoint": ENDPOINT, "retry_first_s": 0.001, "retry_most_s": 0.001, "compression": "none"},
        spool={"directory": FOLDER, "write": write},
    )
    to = destination(settings.export("logs"))
    lane = Lane(to, HttpTransport(to), Store(settings.spool, "logs"), lambda *_: None, Moment.now)
    numbers_of = {}
    held = []
    for number in range(first, first + count):
        request = encoded([2 * number, 2 * number + 1])
        numbers_of[id(request)] = number
        held.append(request)
        lane.offer(request)
        lane.step()
    while lane.tally.queued or lane.tally.spooled:
        lane.step()
    if lane.tally.sent != lane.tally.enqueued:
        os.write(2, f"{lane.tally}\n".encode())
        os._exit(3)
    os._exit(0)


def main():
    for line in sys.stdin:
        point, nth, first, count, write = line.split()
        child = os.fork()
        if not child:
            try:
                live(point, int(nth), int(first), int(count), write)
            finally:
                os._exit(4)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


main()
