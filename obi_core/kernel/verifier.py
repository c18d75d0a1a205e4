"""The verifier's log, read for the one line that says why."""

import re
from typing import Final

# Registers and instructions as the verifier walks them, and its summary: not a reason.
_WALK: Final = re.compile(
    r"(\d+: |from \d+ to \d+|R\d+(_w)?=|; |processed \d|verification time|stack depth|max_states|live regs|mark_prec|frame\d)"
)


def last_words(log: str) -> str:
    """Give the last line of a verifier log that is neither a walked instruction nor the summary; empty if there is none.

    Source: kernel/bpf/verifier.c, `verbose()`.
    """
    for line in reversed(log.splitlines()):
        if (text := line.strip()) and not _WALK.match(text):
            return text
    return ""
