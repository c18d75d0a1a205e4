"""Puts back what somebody else has detached."""

import logging
from typing import Final

from obi_core.errors import AttachError
from obi_core.probe import Probe

_log: Final = logging.getLogger("obi.probe")


def reattach(probe: Probe) -> int:
    """Look at every link of a probe and attach again what is no longer attached.

    Returns:
        Number of programs that were put back.

    Raises:
        AttachError: One that the probe cannot do without cannot be put back.
    """
    try:
        bpf = probe.bpf
    except RuntimeError:  # a probe without a BPF object
        return 0
    count = 0
    for program, place in bpf.lost():
        where = f" at {place}" if place else ""
        level = logging.INFO if place else logging.WARNING
        _log.log(level, "probe %s: program %s is detached%s, not by us; attaching it again", probe.name, program, where)
        try:
            bpf.attach(program, place)
        except AttachError as error:
            if not place:
                raise
            # One place of several, such as the interface of a container that has ended.
            _log.info("probe %s: program %s stays detached%s: %s", probe.name, program, where, error)
            continue
        if program in bpf.refused:
            _log.warning("probe %s: program %s cannot be attached again: %s", probe.name, program, bpf.refused[program])
        else:
            count += 1
    return count
