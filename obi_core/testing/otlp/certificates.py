"""Certificates for tests, made by the openssl program: a CA of their own, a server's and a client's."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SUBJECT_NAMES: Final = "subjectAltName=DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM; `client` is a folder with `ca.crt`, `tls.crt` and `tls.key`, as a mounted Secret has them."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    ca_key: Path

    def renew(self, folder: Path, *, days: int = 30) -> Path:
        """Make a further client certificate of the same CA, valid for `days` (0: expired at once), in a folder of its own."""
        _issue(self.ca, self.ca_key, folder, "client", days)
        return folder


def make_certificates(folder: Path) -> Certificates:
    """Make a CA and everything that it signs below `folder`.

    Raises:
        AssertionError: The program openssl is missing or refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ca, ca_key = folder / "ca.crt", folder / "ca.key"
    key = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30")
    _openssl(*key, "-subj", "/CN=OBI test CA", "-keyout", str(ca_key), "-out", str(ca))
    server = _issue(ca, ca_key, folder / "server", "localhost", 30)
    client = _issue(ca, ca_key, folder / "client", "client", 30)
    return Certificates(ca, server / "tls.crt", server / "tls.key", client, ca_key)


def _issue(ca: Path, ca_key: Path, folder: Path, name: str, days: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    request, key, names = folder / "tls.csr", folder / "tls.key", folder / "names"
    names.write_text(_SUBJECT_NAMES)
    make = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}")
    _openssl(*make, "-keyout", str(key), "-out", str(request))
    sign = ("x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key), "-days", str(days))
    _openssl(*sign, "-extfile", str(names), "-out", str(folder / "tls.crt"))
    (folder / "ca.crt").write_bytes(ca.read_bytes())
    return folder


def _openssl(*words: str) -> None:
    program = shutil.which("openssl")
    assert program is not None, "the program openssl is missing"
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
