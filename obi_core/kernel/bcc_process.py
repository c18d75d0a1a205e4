"""Runs `bcc_child.py` and receives what it loaded; every way in which that can go wrong becomes one LoadError."""

import array
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from obi_core.errors import LoadError
from obi_core.kernel.verifier import last_words

_MOST_DESCRIPTORS: Final = 253
"""SCM_MAX_FD: so many go with one message."""
_NEEDS: Final = 128 << 20
"""Memory of one compilation, bytes; measured."""
_REPLY_BYTES: Final = 1 << 17
_TAIL_BYTES: Final = 1 << 16
_TURN: Final = threading.Lock()
"""One child at a time, whichever probe asks: each takes 100 MB while it compiles, and the node's limit is for all."""
_LOG: Final = logging.getLogger("obi.bcc")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One program to load."""

    name: str
    section: str
    kind: int
    """`enum bpf_prog_type`."""
    hook: int
    """`enum bpf_attach_type` that it is loaded for; -1: none."""
    optional: bool


@dataclass(frozen=True, slots=True)
class Handover:
    """What the child loaded; the descriptors are the caller's to close."""

    maps: Mapping[str, int]
    programs: Mapping[str, int]
    refused: Mapping[str, LoadError]


def run_child(
    stem: str,
    request: Mapping[str, object],
    programs: Sequence[Wanted],
    *,
    environ: Mapping[str, str],
    deadline_s: float,
    room: Callable[[], int | None] = lambda: None,
) -> Handover:
    """Compile and load in a fresh interpreter.

    Args:
        stem: Name of the source, for errors.
        request: What `bcc_child.py` reads, without the programs.
        programs: What to load.
        environ: Environment of the child.
        deadline_s: After so long the child is killed.
        room: Gives the memory that the child may take, bytes; None: as much as it likes. Asked when its turn has come.

    Raises:
        LoadError: The compiler or the verifier refused, BCC is not installed, the child crashed or took too long, or there is
            no room for it: the kernel would kill it, or the agent beside it.
    """
    asked = [
        {"name": program.name, "type": program.kind, "hook": program.hook, "optional": program.optional}
        for program in programs
    ]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with _TURN, ours, _memory_file() as asking, _memory_file() as said:
        with theirs:
            if (left := room()) is not None and left < _NEEDS:
                raise LoadError(
                    f"{stem}: BCC takes some {_NEEDS >> 20} MB while it compiles, and {max(0, left) >> 20} MB are left in this"
                    " cgroup; raise its memory limit"
                )
            asking.write(json.dumps({**request, "programs": asked}).encode())
            asking.seek(0)
            child = Path(__file__).with_name("bcc_child.py")
            process = subprocess.Popen(
                # -I: our own bcc.py lies beside the child and must not be found as BCC's package
                [sys.executable, "-I", str(child), str(theirs.fileno())],
                stdin=asking,
                stdout=said,
                stderr=said,
                pass_fds=(theirs.fileno(),),
                env=dict(environ),
            )
        with process:
            try:
                ours.settimeout(deadline_s)
                reply, descriptors = _receive(ours)
            except TimeoutError:
                raise LoadError(
                    f"{stem}: BCC did not compile and load it within {deadline_s:g} s (OBI_BCC_DEADLINE_S);"
                    " its process was killed"
                ) from None
            finally:
                process.kill()
        _LOG.debug("%s: BCC said:\n%s", stem, _text(said))
        if not reply:
            raise LoadError(
                f"{stem}: BCC's process {_end(process.returncode)} before it had loaded", log=last_words(_text(said))
            )
        return _handover(stem, programs, json.loads(reply), descriptors, said)


def _memory_file() -> IO[bytes]:
    """A file that needs no place to write: the agent's file system may be read-only."""
    return os.fdopen(os.memfd_create("obi-bcc"), "w+b")


def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """One message with its descriptors; nothing if the child is gone. Not `socket.recv_fds`: it ignores its flags."""
    descriptors = array.array("i")
    room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * descriptors.itemsize)
    message, ancillary, _, _ = channel.recvmsg(_REPLY_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    for _, _, data in ancillary:
        descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return message, list(descriptors)


def _handover(
    stem: str, programs: Sequence[Wanted], reply: dict[str, Any], descriptors: list[int], said: IO[bytes]
) -> Handover:
    if "absent" in reply:
        raise LoadError(
            f"{stem}: BCC cannot be used ({reply['absent']}): install the Debian package python3-bpfcc,"
            " and make the virtual environment with --system-site-packages"
        )
    sections = {program.name: program.section for program in programs}
    if "failed" in reply:
        name = reply["failed"]
        if not name:
            raise LoadError(f"{stem}: BCC refused it", log=_first_error(said, reply["offsets"]))
        raise _refusal(name, sections[name], reply, said)
    if len(descriptors) != len(reply["maps"]) + len(reply["programs"]):
        for descriptor in descriptors:
            os.close(descriptor)
        raise LoadError(
            f"{stem}: it has more than {_MOST_DESCRIPTORS} programs and maps, or this process is out of descriptors"
        )
    maps = dict(zip(reply["maps"], descriptors, strict=False))
    loaded = dict(zip(reply["programs"], descriptors[len(maps) :], strict=True))
    refused = {name: _refusal(name, sections[name], report, said) for name, report in reply["refused"].items()}
    return Handover(maps, loaded, refused)


def _refusal(name: str, section: str, report: dict[str, Any], said: IO[bytes]) -> LoadError:
    # the kernel's words stand between BCC's own line and its guesses
    log, _, _ = _text(said, report["offsets"]).partition("\nHINT:")
    log = last_words(log.partition("bpf: Failed to load program")[2].partition("\n")[2])
    return LoadError("the kernel would not load it", program=name, section=section, errno=report["errno"], log=log)


def _first_error(said: IO[bytes], offsets: Sequence[int]) -> str:
    """The compiler's first error: those after it are mostly its consequences."""
    text = _text(said, offsets)
    return next((line.strip() for line in text.splitlines() if "error:" in line), None) or last_words(text)


def _text(said: IO[bytes], offsets: Sequence[int] = (0, sys.maxsize)) -> str:
    """What was printed between two offsets, or the end of it."""
    end = min(offsets[1], os.fstat(said.fileno()).st_size)
    begin = max(offsets[0], end - _TAIL_BYTES)
    return os.pread(said.fileno(), end - begin, begin).decode(errors="replace")


def _end(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
