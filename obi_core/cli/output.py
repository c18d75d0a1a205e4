"""The two ways out: results to standard output, one line of complaint to standard error."""

import json
import sys


def say(text: str) -> None:
    """Write a line of the result."""
    sys.stdout.write(f"{text}\n")


def as_document(document: object) -> str:
    """The whole result as one JSON document."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def say_document(document: object) -> None:
    """Write the whole result as one JSON document."""
    say(as_document(document))


def complain(message: str) -> None:
    """Write `obi: message`, whatever is in it as one line."""
    sys.stderr.write(f"obi: {' '.join(message.split())}\n")
