"""Headers of every request: values and files of values, which never appear in anything that is printed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from obi_core.errors import ConfigError
from obi_core.settings import Export

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_MOST_BYTES: Final = 64 << 10
_OURS: Final = {"content-type", "content-length", "content-encoding", "host", "transfer-encoding", "te", "grpc-timeout"}


class Headers:
    """The headers, with those from files as the files are now.

    Args:
        export: How a signal is exported.

    Raises:
        ConfigError: A name is none, a value cannot be sent, or a file cannot be read.
    """

    def __init__(self, export: Export) -> None:
        settings = export.settings
        self._key = export.key("header_files")
        self._fixed = {name.lower(): secret.get_secret_value() for name, secret in settings.headers.items()}
        self._files = {name.lower(): Path(file) for name, file in settings.header_files.items()}
        self._read: dict[str, tuple[tuple[int, ...], str]] = {}
        for name, value in self._fixed.items():
            self._check(name, value, f"{export.key('headers')}.{name}", "it")
        for name in self._files:
            self._check(name, "", f"{self._key}.{name}", "it")
        self.now()

    def now(self) -> Mapping[str, str]:
        """Give names in lower case and values; a file that has changed is read again.

        Raises:
            ConfigError: A file cannot be read, or holds what cannot be sent.
        """
        return {**self._fixed, **{name: self._of(name, file) for name, file in self._files.items()}}

    def secrets(self) -> frozenset[str]:
        """Every value that must not be printed, as last read."""
        return frozenset(filter(None, [*self._fixed.values(), *(value for _, value in self._read.values())]))

    def _of(self, name: str, file: Path) -> str:
        key = f"{self._key}.{name}"
        try:
            stat = file.stat()
            signature = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            known = self._read.get(name)
            if known is not None and known[0] == signature:
                return known[1]
            if stat.st_size > _MOST_BYTES:
                raise ConfigError(f"{key}: {file} is larger than {_MOST_BYTES >> 10} KiB; this is no header", key=key)
            value = file.read_text("utf-8").removesuffix("\n").removesuffix("\r")
        except OSError as error:
            raise ConfigError(f"{key}: {file} cannot be read: {error.strerror}", key=key) from error
        except UnicodeDecodeError:
            raise ConfigError(f"{key}: {file} does not hold text", key=key) from None
        self._check(name, value, key, str(file))
        self._read[name] = (signature, value)
        return value

    @staticmethod
    def _check(name: str, value: str, key: str, where: str) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{key}: this is no name of a header", key=key)
        if name in _OURS or name.startswith("grpc-"):
            raise ConfigError(f"{key}: this header is set by the protocol; leave it out", key=key)
        if "\n" in value or "\r" in value:
            raise ConfigError(f"{key}: {where} holds a line break, which no header may; write the value on one line", key=key)
        if not _VALUE.fullmatch(value):
            raise ConfigError(f"{key}: {where} holds characters that no header may", key=key)


def scrubbed(text: str, secrets: frozenset[str]) -> str:
    """Take what must not be printed out of somebody else's words."""
    # a token may stand alone, without the scheme before it; the longest first, so that no part of it is left standing
    parts = secrets | {word for secret in secrets for word in secret.split() if len(word) > 7}  # noqa: PLR2004 - longer than "Bearer "
    for part in sorted(parts, key=len, reverse=True):
        edge = r"\b" if len(part) < 4 else ""  # noqa: PLR2004 - a short value only as a whole word
        text = re.sub(f"{edge}{re.escape(part)}{edge}", "***", text)
    return text
