"""Ask the agent that runs on this machine, at its health address. Needs neither plugins nor their settings."""

import argparse
import http.client
import json
import os
from typing import Any, Final

from obi_core.errors import HostError

_TIMEOUT_S: Final = 5.0
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where the agent listens, not where we do
_MOST: Final = 4 << 20


def add_address(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that say where the agent is."""
    from obi_core.cli.options import HTTP_LISTEN, add_settings

    add_settings(parser, (HTTP_LISTEN,))


def ask(arguments: argparse.Namespace, path: str) -> tuple[bool, dict[str, Any]]:
    """Ask once; whether the answer is yes (200), and what it is.

    Raises:
        HostError: Nobody answers.
        ConfigError: The address is not one.
    """
    host, port = _address(arguments)
    connection = http.client.HTTPConnection(_EVERYWHERE.get(host, host), port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        response = connection.getresponse()
        answer = json.loads(response.read(_MOST))
    except (OSError, http.client.HTTPException, ValueError) as err:
        raise HostError(
            f"no agent answers at {host}:{port}{path} ({err}); is it running, and does --http-listen say where?"
        ) from err
    finally:
        connection.close()
    return response.status == http.client.OK, answer


def _address(arguments: argparse.Namespace) -> tuple[str, int]:
    """With `--http-listen`, or `OBI_HTTP__LISTEN`, no file is read and no library loaded."""
    from obi_core.cli.options import HTTP_LISTEN, settings_of

    given = getattr(arguments, HTTP_LISTEN.setting) or os.environ.get("OBI_HTTP__LISTEN")
    if given:
        host, _, port = given.rpartition(":")
        if port.isdecimal():
            return host.strip("[]") or "127.0.0.1", int(port)
    listen = settings_of(arguments, (HTTP_LISTEN,)).core.http.listen
    return listen.host, listen.port
