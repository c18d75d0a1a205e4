"""TLS from files, read again when they change, so that a certificate is renewed without a restart."""

import logging
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from obi_core.errors import ConfigError
from obi_core.settings import Export
from obi_core.sinks.otlp.certificate import not_after

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Which files."""

    ca: Path | None
    certificate: Path | None
    key: Path | None
    export: Export
    """Says which setting named them, for messages."""

    @classmethod
    def of(cls, export: Export) -> "TlsFiles":
        """Choose the files that the settings name; of `tls_dir`, those that are there.

        Raises:
            ConfigError: Only one of certificate and key is named, or `tls_dir` holds none of the three.
        """
        settings = export.settings
        found: list[Path | None] = [None, None, None]
        if settings.tls_dir is not None:
            folder = Path(settings.tls_dir)
            found = [folder / name if (folder / name).exists() else None for name in ("ca.crt", "tls.crt", "tls.key")]
            if not any(found):
                key = export.key("tls_dir")
                raise ConfigError(f"{key}: {folder} holds none of ca.crt, tls.crt and tls.key", key=key)
        named = (settings.ca_file, settings.cert_file, settings.key_file)
        ca, certificate, key_file = (Path(own) if own else other for own, other in zip(named, found, strict=True))
        if (certificate is None) != (key_file is None):
            key = export.key("cert_file" if certificate is None else "key_file")
            raise ConfigError(f"{key}: a certificate and its key belong together; one of them is missing", key=key)
        return cls(ca, certificate, key_file, export)

    def signature(self) -> tuple[tuple[int, ...] | None, ...]:
        """What tells that a file has changed; a mounted Secret changes by a new inode behind a link."""
        return tuple(_signature(file) for file in (self.ca, self.certificate, self.key))

    def expiry(self) -> dict[str, float]:
        """When our own certificate and the last one of the CA's file end, seconds since 1970; of those that are named."""
        ends: dict[str, float] = {}
        if self.certificate is not None:
            ends["client"] = not_after(_read(self.certificate, self.key_of("cert_file")))[0]
        if self.ca is not None:
            ends["ca"] = max(not_after(_read(self.ca, self.key_of("ca_file"))))
        return ends

    def key_of(self, field: str) -> str:
        """Dotted path of the setting that named a file."""
        return self.export.key(field if getattr(self.export.settings, field) else "tls_dir")


def load(files: TlsFiles, minimum: str, now_s: float) -> ssl.SSLContext:
    """Make a context that verifies the endpoint and, with a certificate of our own, says who we are.

    Raises:
        ConfigError: A file cannot be read, is no PEM, has expired, or certificate and key do not belong together.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if minimum == "1.3" else ssl.TLSVersion.TLSv1_2
    if files.ca is not None:
        key = files.key_of("ca_file")
        pem = _read(files.ca, key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3 if minimum == "1.3" else ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(cadata=pem)
        except (ssl.SSLError, ValueError):
            raise ConfigError(f"{key}: {files.ca} holds no certificate in PEM", key=key) from None
        # of a bundle one may have ended, as long as another has not
        _unexpired(files.ca, not_after(pem), key, now_s)
    if files.certificate is not None and files.key is not None:
        key = files.key_of("cert_file")
        _unexpired(files.certificate, not_after(_read(files.certificate, key))[:1], key, now_s)
        _read(files.key, files.key_of("key_file"))
        try:
            # a password would be asked for on the terminal
            context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
        except ssl.SSLError as error:
            raise _unfit(files, error) from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{files.key_of('key_file')}: {files.key} cannot be used: {error}", key=key) from error
    return context


class TlsContext:
    """The context as the files are now.

    Args:
        files: Which.
        minimum: `1.2` or `1.3`.
        clock: Seconds since 1970.
    """

    def __init__(self, files: TlsFiles, minimum: str, clock: Callable[[], float] = time.time) -> None:
        self._files, self._minimum, self._clock = files, minimum, clock
        self._signature = files.signature()
        self.context = load(files, minimum, clock())
        self.expiry = files.expiry()
        """When what is in use ends; see `TlsFiles.expiry`."""

    def changed(self) -> bool:
        """Read the files again if they have changed; whether there is a new context.

        Files that do not fit together, as in the middle of a change, leave the old context in place and are said.
        """
        signature = self._files.signature()
        if signature == self._signature:
            return False
        self._signature = signature
        try:
            context, expiry = load(self._files, self._minimum, self._clock()), self._files.expiry()
        except ConfigError as error:
            _log.warning("TLS files have changed and cannot be used; the old ones stay in use: %s", error.message)
            return False
        self.context, self.expiry = context, expiry
        _log.info("the TLS files of %s have changed and are in use", self._files.export.signal)
        return True

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Contents of CA, certificate and key, for gRPC."""
        files = (self._files.ca, self._files.certificate, self._files.key)
        ca, certificate, key = (None if file is None else file.read_bytes() for file in files)
        return ca, certificate, key


def _signature(file: Path | None) -> tuple[int, ...] | None:
    if file is None:
        return None
    try:
        stat = file.stat()
    except OSError:
        return (0,)
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def _read(file: Path, key: str) -> str:
    try:
        return file.read_text("ascii")
    except OSError as error:
        raise ConfigError(f"{key}: {file} cannot be read: {error.strerror}", key=key) from error
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {file} is not PEM", key=key) from None


def _unexpired(file: Path, ends: Sequence[float], key: str, now_s: float) -> None:
    if not ends:
        raise ConfigError(f"{key}: {file} holds no certificate in PEM", key=key)
    if max(ends) <= now_s:
        on = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(max(ends)))
        raise ConfigError(f"{key}: the certificate in {file} expired on {on}; renew it", key=key)


def _unfit(files: TlsFiles, error: ssl.SSLError) -> ConfigError:
    key = files.key_of("key_file")
    if error.reason == "KEY_VALUES_MISMATCH":
        return ConfigError(f"{key}: the key in {files.key} is not that of the certificate in {files.certificate}", key=key)
    return ConfigError(f"{key}: {files.key} holds no key in PEM without a password", key=key)
