"""Whether the files of a configuration have changed, as a look at their names, sizes and times tells.

A ConfigMap's files are links through `..data`, which is swapped as a whole: what counts is what the links lead to. A file
that is being written is left alone until two looks in a row see the same.
"""

from pathlib import Path

_Seen = tuple[tuple[str, int, int, int], ...]


class FileChanges:
    """Watches `*.yaml` of a directory and of its `pools`.

    Args:
        directory: The directory; None: nothing ever changes.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._taken = self._last = self._look()

    def settled(self) -> bool:
        """Whether the files differ from what was last reported, and did so in the same way at the look before."""
        now, before = self._look(), self._last
        self._last = now
        if now == self._taken or now != before:
            return False
        self._taken = now
        return True

    def _look(self) -> _Seen:
        if self._directory is None:
            return ()
        seen: list[tuple[str, int, int, int]] = []
        for directory in (self._directory, self._directory / "pools"):
            try:
                for path in sorted(directory.glob("*.yaml")):
                    status = path.stat()
                    seen.append((str(path), status.st_ino, status.st_mtime_ns, status.st_size))
            except OSError:
                continue  # it is being replaced: the next look tells
        return tuple(seen)
