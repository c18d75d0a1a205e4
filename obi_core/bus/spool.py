"""The spool: serialised requests of one signal on disk, oldest first, bounded, and honest about what is missing.

SQLite in WAL mode with a full sync at each commit: what `append` accepted survives `kill -9` and loss of power. Every record
carries a checksum, and a file of twelve bytes beside the database says how many items must be there at least, so that a tail
which the disk lost is counted although nothing of it is left.
"""

import json
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from obi_core.bus.ledger import Ledger
from obi_core.bus.moment import Moment
from obi_core.bus.request import Request
from obi_core.errors import HostError
from obi_core.settings import Signal

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS requests (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, created_ns INTEGER NOT NULL, items INTEGER NOT NULL,
    probes TEXT NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL)
"""
_FROM_BOTH_ENDS: Final = (
    "SELECT seq, created_ns, items, probes, body, crc FROM requests ORDER BY seq",
    "SELECT seq, created_ns, items, probes, body, crc FROM requests ORDER BY seq DESC",
)
"""Towards the damage."""
_ROW_BYTES: Final = 128
"""Beside its body, roughly."""
_LEVEL: Final = 1

Lost = Callable[[str, int, Mapping[str, int]], None]
"""Told of items that are gone: cause (`spool_full`, `spool_age`, `damaged`), number, number by probe."""


class SpoolError(HostError):
    """The disk does not take it: full, read-only, or another agent has the file."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One record, without its body."""

    seq: int
    items: int
    size: int
    """Bytes on disk."""
    since_ns: int
    """When it was accepted; monotonic, ns, so that a clock that is set changes nothing."""


class Spool:
    """The requests of one signal. One thread at a time.

    Args:
        file: The database; made when it is not there, with its folder.
        signal: Of all its requests.
        max_bytes: Beyond it the oldest go.
        max_age_s: Past it a request goes.
        lost: Told of what goes.
        clock: Reads both clocks.

    Raises:
        SpoolError: The file cannot be opened or is another process's.
    """

    def __init__(
        self,
        file: Path,
        signal: Signal,
        max_bytes: int,
        max_age_s: float,
        lost: Lost,
        clock: Callable[[], Moment] = Moment.now,
    ) -> None:
        self._file, self._signal, self._lost, self._clock = file, signal, lost, clock
        self._max_bytes, self._max_age_ns = max_bytes, int(max_age_s * 1e9)
        self._kept: dict[int, Kept] = {}
        self._unremoved: set[int] = set()
        self.bytes = self.items = 0
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._ledger = Ledger(file.with_suffix(".ledger"))
        except OSError as error:
            raise SpoolError(f"{file.parent} cannot be written: {error.strerror}") from error
        expected = self._ledger.read()
        try:
            self._open()
        except sqlite3.OperationalError as error:
            self.close()
            raise self._refused(error) from error
        except sqlite3.DatabaseError:
            self._rescue()
        if expected is not None and expected > self.items:
            lost(_DAMAGED, expected - self.items, {})
        self._ledger.write(self.items)

    def __len__(self) -> int:
        return len(self._kept)

    def append(self, requests: Sequence[Request]) -> list[Kept]:
        """Keep requests, all or none; when this returns they survive the end of the process and of the machine.

        Raises:
            SpoolError: The disk did not take them; nothing has changed.
        """
        now = self._clock()
        bodies = [zlib.compress(request.payload, _LEVEL) for request in requests]
        sizes = [len(body) + _ROW_BYTES for body in bodies]
        gone = [(kept, self._probes(kept)) for kept in self._surplus(sum(sizes))]
        added: list[Kept] = []
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._delete([*self._unremoved, *(kept.seq for kept, _ in gone)])
            for request, body, size in zip(requests, bodies, sizes, strict=True):
                probes = json.dumps(dict(request.probes))
                crc = _crc(now.real_ns, request.items, probes, body)
                cursor = self._database.execute(
                    "INSERT INTO requests (created_ns, items, probes, body, crc) VALUES (?, ?, ?, ?, ?)",
                    (now.real_ns, request.items, probes, body, crc),
                )
                added.append(Kept(cursor.lastrowid or 0, request.items, size, now.mono_ns))
            self._ledger.write(self.items - sum(kept.items for kept, _ in gone))
            self._database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            self._ledger.write(self.items)
            raise self._refused(error) from error
        except sqlite3.DatabaseError as error:
            self._mend()
            raise self._refused(error) from error
        self._unremoved.clear()
        for kept, probes_of in gone:
            self._forget(kept)
            self._lost(_FULL, kept.items, probes_of)
        for kept in added:
            self._remember(kept)
        self._ledger.write(self.items)
        return added

    def oldest(self, before: int | None = None) -> Kept | None:
        """Find the record that was accepted first, if it is older than record `before`; too old ones go."""
        limit = self._clock().mono_ns - self._max_age_ns
        while self._kept:
            kept = next(iter(self._kept.values()))
            if before is not None and kept.seq >= before:
                return None
            if kept.since_ns >= limit:
                return kept
            probes = self._probes(kept)
            self.remove(kept)
            self._lost(_AGE, kept.items, probes)
        return None

    def load(self, kept: Kept) -> Request | None:
        """Read a record; None if it is damaged: then it is removed and counted."""
        try:
            row = self._database.execute(
                "SELECT created_ns, items, probes, body, crc FROM requests WHERE seq = ?", (kept.seq,)
            ).fetchone()
            if row is not None and _crc(*row[:4]) == row[4]:
                return Request(self._signal, zlib.decompress(row[3]), row[1], json.loads(row[2]))
        except sqlite3.OperationalError as error:
            raise self._refused(error) from error
        except sqlite3.DatabaseError:
            self._mend()
            return None
        except (TypeError, ValueError, zlib.error):
            pass
        self.remove(kept)
        self._lost(_DAMAGED, kept.items, {})
        return None

    def remove(self, kept: Kept) -> None:
        """Let a record go: it was sent, or given up. Never raises: what the disk refuses is done with the next commit."""
        if kept.seq not in self._kept:
            return
        self._forget(kept)
        self._ledger.write(self.items)
        self._unremoved.add(kept.seq)
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._delete(list(self._unremoved))
            self._database.execute("COMMIT")
            self._unremoved.clear()
            if not self._kept:
                # gives the space back after a long outage
                self._database.execute("PRAGMA incremental_vacuum").fetchall()
                self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")

    def close(self) -> None:
        """Close the files; everything stays on disk. Idempotent."""
        with suppress(sqlite3.Error, AttributeError):
            self._database.close()
        self._ledger.close()

    def _open(self) -> None:
        self._database = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False, timeout=0.2)
        # EXCLUSIVE: one agent at a time, by a lock that ends with the process; and no shared memory file.
        for pragma in ("auto_vacuum=INCREMENTAL", "locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
            self._database.execute(f"PRAGMA {pragma}").fetchall()
        self._database.execute("PRAGMA wal_autocheckpoint=256").fetchall()
        self._database.execute("PRAGMA journal_size_limit=1048576").fetchall()
        self._database.execute("BEGIN IMMEDIATE")
        self._database.execute(_SCHEMA)
        self._database.execute("COMMIT")
        now = self._clock()
        self._kept.clear()
        self.bytes = self.items = 0
        for row in self._database.execute("SELECT seq, created_ns, items, length(body) FROM requests ORDER BY seq"):
            if not all(isinstance(number, int) for number in row):
                raise sqlite3.DatabaseError("a record without its numbers")
            seq, created_ns, items, size = row
            age_ns = max(0, now.real_ns - created_ns)
            self._remember(Kept(seq, items, size + _ROW_BYTES, now.mono_ns - age_ns))

    def _mend(self) -> None:
        before = self.items
        self._rescue()
        self._lost(_DAMAGED, before - self.items, {})
        self._ledger.write(self.items)

    def _rescue(self) -> None:
        """Move what can still be read out of a damaged database into a new one."""
        damaged = self._file.with_suffix(".damaged")
        with suppress(sqlite3.Error):
            self._database.close()
        readable: dict[int, tuple[object, ...]] = {}
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self._file}{suffix}").replace(f"{damaged}{suffix}")
        for query in _FROM_BOTH_ENDS:
            with suppress(sqlite3.Error, TypeError, ValueError), closing(sqlite3.connect(damaged)) as old:
                for row in old.execute(query):
                    if _crc(*row[1:5]) == row[5]:
                        readable[row[0]] = row
        for suffix in ("", "-wal", "-shm"):
            Path(f"{damaged}{suffix}").unlink(missing_ok=True)
        try:
            self._open()
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?)", sorted(readable.values()))
            self._database.execute("COMMIT")
            self._database.close()
            self._open()
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def _surplus(self, wanted: int) -> list[Kept]:
        gone: list[Kept] = []
        room = self._max_bytes - self.bytes - wanted
        for kept in self._kept.values():
            if room >= 0:
                break
            room += kept.size
            gone.append(kept)
        return gone

    def _probes(self, kept: Kept) -> Mapping[str, int]:
        with suppress(sqlite3.Error, TypeError, ValueError):
            row = self._database.execute("SELECT probes FROM requests WHERE seq = ?", (kept.seq,)).fetchone()
            found: Mapping[str, int] = json.loads(row[0])
            return found
        return {}

    def _delete(self, seqs: Sequence[int]) -> None:
        self._database.executemany("DELETE FROM requests WHERE seq = ?", [(seq,) for seq in seqs])

    def _remember(self, kept: Kept) -> None:
        self._kept[kept.seq] = kept
        self.bytes += kept.size
        self.items += kept.items

    def _forget(self, kept: Kept) -> None:
        del self._kept[kept.seq]
        self.bytes -= kept.size
        self.items -= kept.items

    def _refused(self, error: sqlite3.Error) -> SpoolError:
        return SpoolError(f"the spool {self._file} cannot be used: {error}")


_FULL: Final = "spool_full"
_AGE: Final = "spool_age"
_DAMAGED: Final = "damaged"


def _crc(created_ns: int, items: int, probes: str, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(f"{created_ns} {items} {probes}".encode()))
