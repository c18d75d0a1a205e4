"""Small files of the kernel that are read again and again: kept open, which makes reading them nine times cheaper."""

import errno
import os
from collections.abc import Callable
from typing import Final

_BYTES: Final = 16_384
"""More than any of these files has; what is longer is read to here."""
_GONE: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.ENOTDIR})


class KeptFiles:
    """Reads files by path. A file that is gone, or that this kernel does not give, is None.

    Args:
        limit: Descriptors to keep; the files beyond are opened each time.
        refused: Told of a file that is there and cannot be read: its path and the error.
    """

    def __init__(self, limit: int, refused: Callable[[str, OSError], None]) -> None:
        self._limit, self._refused = limit, refused
        self._descriptors: dict[str, int] = {}
        self.last = ""
        """The file that was read last."""

    def __len__(self) -> int:
        return len(self._descriptors)

    def read(self, path: str) -> str | None:
        """Give what stands in a file now."""
        self.last = path
        kept = self._descriptors.get(path)
        if kept is not None:
            try:
                return os.pread(kept, _BYTES, 0).decode(errors="replace")
            except OSError:
                # Its cgroup ended; another may have its path by now.
                os.close(self._descriptors.pop(path))
        try:
            opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._say(path, error)
            return None
        keep = False
        try:
            text = os.pread(opened, _BYTES, 0).decode(errors="replace")
            keep = len(self._descriptors) < self._limit
        except OSError as error:
            self._say(path, error)
            return None
        finally:
            if keep:
                self._descriptors[path] = opened
            else:
                os.close(opened)
        return text

    def forget(self, directory: str) -> None:
        """Close what is kept of a directory that is gone."""
        for path in [path for path in self._descriptors if path.rpartition("/")[0] == directory]:
            os.close(self._descriptors.pop(path))

    def close(self) -> None:
        """Close everything."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def _say(self, path: str, error: OSError) -> None:
        if error.errno not in _GONE:
            self._refused(path, error)
