"""`obi health`: ask a running agent on this machine how it is; for exec probes, in images without curl.

Needs neither plugins nor their settings: with `--http-listen`, or `OBI_HTTP__LISTEN`, it reads no file and loads no library.
"""

import argparse
import http.client
import json
import os
from typing import Final

from obi_core.cli.output import say
from obi_core.errors import HostError

_TIMEOUT_S: Final = 5.0
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where the agent listens, not where we do
_MOST: Final = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi health`."""
    from obi_core.cli.options import HTTP_LISTEN, add_settings

    parser.add_argument("--ready", action="store_true", help="ask whether it is ready, not only whether it is alive")
    parser.add_argument("--json", action="store_true", help="show the whole answer")
    add_settings(parser, (HTTP_LISTEN,))


def run(arguments: argparse.Namespace) -> int:
    """Ask once: 0 if the answer is yes, 1 if it is no.

    Raises:
        HostError: Nobody answers.
        ConfigError: The address is not one.
    """
    host, port = _address(arguments)
    path = "/ready" if arguments.ready else "/health"
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
    yes = response.status == http.client.OK
    say(json.dumps(answer) if arguments.json else _words(answer, yes=yes, ready=arguments.ready))
    return 0 if yes else 1


def _address(arguments: argparse.Namespace) -> tuple[str, int]:
    from obi_core.cli.options import HTTP_LISTEN, settings_of

    given = getattr(arguments, HTTP_LISTEN.setting) or os.environ.get("OBI_HTTP__LISTEN")
    if given:
        host, _, port = given.rpartition(":")
        if port.isdecimal():
            return host.strip("[]") or "127.0.0.1", int(port)
    listen = settings_of(arguments, (HTTP_LISTEN,)).core.http.listen
    return listen.host, listen.port


def _words(answer: dict[str, object], *, yes: bool, ready: bool) -> str:
    if not ready:
        return "alive" if yes else f"stuck: its loop has not turned for {answer.get('loop_age_s', '?')} s"
    probes = answer.get("probes")
    states = (
        [f"{name} {probe['state']} ({probe['reason']})" for name, probe in probes.items()] if isinstance(probes, dict) else []
    )
    return ": ".join(filter(None, ("ready" if yes else "not ready", ", ".join(states))))
