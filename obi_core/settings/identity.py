"""How the agent finds out which program and container an owner is."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from obi_core.settings.section import Section
from obi_core.settings.values import Names

REDACTED = "[redacted]"


def _patterns(given: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in given:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"must be regular expressions; {pattern!r} is none: {error}") from error
    return given


class IdentitySettings(Section):
    """Programs and containers that are gone before anybody can look."""

    tracking: bool = Field(
        True,
        description="Whether two small programs in the kernel note the names of programs longer than 15 bytes, and the paths "
        "of new cgroups, so that what lives for moments is named too.",
    )
    command_lines: bool = Field(
        False, description="Whether spans and log events carry `process.command_line`; metrics never do."
    )
    redact: Annotated[Names, AfterValidator(_patterns)] = Field(
        (
            r"(?i)(?:password|passwd|pwd|token|secret|api[-_]?key|credential)[\w-]*(?:[=:]|\s+)(\S+)",
            r"(?i)://[^/\s:@]*:([^/\s@]+)@",
        ),
        description="Regular expressions: what the first group of each matches in a command line, or all of it where there is "
        "no group, becomes `[redacted]`.",
    )
