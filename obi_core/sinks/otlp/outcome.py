"""What became of one request, and what the answers of both protocols mean."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from math import isfinite
from typing import Final

from obi_core.sinks.otlp.wire import fields


class Verdict(Enum):
    """What to do next."""

    TAKEN = "taken"
    AGAIN = "again"
    """A temporary failure: the same request may be taken later."""
    NEVER = "never"
    """Refused for good: the same request would be refused again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request."""

    verdict: Verdict
    status: str = ""
    """HTTP's status as a number or gRPC's by name; empty if nobody answered."""
    text: str = ""
    """The endpoint's words, or what went wrong on the way to it."""
    wait_s: float | None = None
    """What the endpoint asked us to wait, s."""
    rejected: int = 0
    """Items that the endpoint threw away while it took the rest."""

    @property
    def reason(self) -> str:
        """A word of a fixed set for a refusal: `bad_request`, `not_found`, `unauthorized`, `too_large`, `other`."""
        return _REASONS.get(self.status, "other")


_REASONS: Final = {
    "400": "bad_request",
    "INVALID_ARGUMENT": "bad_request",
    "404": "not_found",
    "405": "not_found",
    "UNIMPLEMENTED": "not_found",
    "NOT_FOUND": "not_found",
    "401": "unauthorized",
    "403": "unauthorized",
    "UNAUTHENTICATED": "unauthorized",
    "PERMISSION_DENIED": "unauthorized",
    "413": "too_large",
}
REASONS: Final = (*dict.fromkeys(_REASONS.values()), "other")
_AGAIN_HTTP: Final = {429, 502, 503, 504}
_AGAIN_GRPC: Final = {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
_LONGEST_TEXT: Final = 400
_MESSAGE: Final = 2
_DETAILS: Final = 3
"""Fields of google.rpc.Status and of partial_success."""


def of_http(status: int, retry_after: str, content_type: str, body: bytes, now_s: float) -> Outcome:
    """Judge an HTTP answer. Source: OTLP specification, "OTLP/HTTP Response".

    Args:
        status: HTTP status.
        retry_after: The header of this name, empty if there is none.
        content_type: The header of this name.
        body: The answer's body.
        now_s: Seconds since 1970, for a Retry-After that is a date.
    """
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP's successes
        rejected, message = partial_success(body) if "protobuf" in content_type else (0, "")
        return Outcome(Verdict.TAKEN, str(status), message, rejected=rejected)
    text = _words(content_type, body)
    if status in _AGAIN_HTTP:
        return Outcome(Verdict.AGAIN, str(status), text, _retry_after(retry_after, now_s))
    return Outcome(Verdict.NEVER, str(status), text)


def of_grpc(code: str, text: str, retry_info_s: float | None) -> Outcome:
    """Judge a gRPC error. RESOURCE_EXHAUSTED is temporary only if the endpoint says when to come back.

    Source: OTLP specification, "Failures".
    """
    again = code in _AGAIN_GRPC or (code == "RESOURCE_EXHAUSTED" and retry_info_s is not None)
    return Outcome(Verdict.AGAIN if again else Verdict.NEVER, code, _line(text), retry_info_s)


def unreachable(text: str) -> Outcome:
    """Nobody answered: whether the request arrived is not known."""
    return Outcome(Verdict.AGAIN, "", _line(text))


def partial_success(response: bytes) -> tuple[int, str]:
    """Read an ExportXServiceResponse, of any signal: partial_success 1 {rejected 1, error_message 2}.

    Returns:
        Items rejected, and why; (0, "") if all were taken or this is no such message.
    """
    rejected, message = 0, ""
    try:
        for number, value in fields(response):
            if number != 1 or not isinstance(value, bytes):
                continue
            for inner, found in fields(value):
                if inner == 1 and isinstance(found, int):
                    rejected = found if found < 1 << 63 else 0
                elif inner == _MESSAGE and isinstance(found, bytes):
                    message = _line(found.decode("utf-8", "replace"))
    except ValueError:
        return 0, ""
    return rejected, message


def retry_delay(details: bytes) -> float | None:
    """Find a RetryInfo in a google.rpc.Status (details 3, each an Any {type_url 1, value 2}), s; None if there is none."""
    try:
        for number, value in fields(details):
            if number == _DETAILS and isinstance(value, bytes):
                found = {inner: part for inner, part in fields(value) if isinstance(part, bytes)}
                if found.get(1, b"").endswith(b"google.rpc.RetryInfo"):
                    return retry_info(found.get(2, b""))
    except ValueError:
        return None
    return None


def retry_info(message: bytes) -> float | None:
    """Read a google.rpc.RetryInfo: retry_delay 1 {seconds 1, nanos 2}, s."""
    try:
        for number, value in fields(message):
            if number == 1 and isinstance(value, bytes):
                parts = {inner: part for inner, part in fields(value) if isinstance(part, int)}
                return parts.get(1, 0) + parts.get(2, 0) / 1e9
    except ValueError:
        return None
    return None


def _retry_after(header: str, now_s: float) -> float | None:
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = parsedate_to_datetime(header)
        except (TypeError, ValueError):
            return None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now_s
    return max(0.0, seconds) if isfinite(seconds) else None


def _words(content_type: str, body: bytes) -> str:
    raw = body
    if "protobuf" in content_type:
        # a google.rpc.Status, whose message is field 2; some stores write plain text under this type
        with suppress(ValueError):
            raw = next((value for number, value in fields(body) if number == _MESSAGE and isinstance(value, bytes)), b"")
    return _line(raw.decode("utf-8", "replace"))


def _line(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text[: 4 * _LONGEST_TEXT])
    return " ".join(printable.split())[:_LONGEST_TEXT]
