"""From a provider's code to what we do. Decided on the code, never on the HTTP status alone: Meta and 360dialog
answer throttles with 400 (contracts.md §0 rule 8)."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from .port import Fault, Kind, Outcome, Scope, WireReply
from .wire import read_json

LONGEST_WAIT = 86_400.0


class Row(NamedTuple):
    """One line of a provider's error table, in the table's own words for class and scope."""

    error_class: str
    scope: str


KIND_OF: dict[str, Kind] = {
    "account_stop": "rejected",
    "throttle": "throttled",
    "transient": "not_sent",
    "ambiguous": "ambiguous",
    "network": "not_sent",
}  # every other class is a final no
SCOPE_OF: dict[str, Scope] = {
    "account": "account",
    "app": "account",
    "sender": "sender",
    "pair": "pair",
    "recipient": "recipient",
    "template": "template",
    "platform": "provider",
    "country": "recipient",  # one closed country must not stop the others
}
# Codes of our own, where the provider gave none.
SHARED_CLASSES = {"network": "network", "no_answer": "ambiguous", "http_429": "throttle", "http_401": "account_stop"}
HOLDING = {"account", "sender"}


def table(groups: Mapping[tuple[str, str], str]) -> dict[str, Row]:
    """``{(class, scope): "1 2 10-12"}`` as ``{code: Row}``, ranges unrolled."""
    rows = {}
    for (error_class, scope), codes in groups.items():
        for code in codes.split():
            first, _, last = code.partition("-")
            for number in range(int(first), int(last or first) + 1):
                rows[str(number)] = Row(error_class, scope)
    return rows


def fault(rows: Mapping[str, Row], code: str, detail: str, otherwise: str = "request") -> Fault:
    """The complaint with its class and scope; a code nobody told us about is of the class ``otherwise``."""
    row = rows.get(code, Row(otherwise, "request"))
    scope = SCOPE_OF.get(row.scope, "message")
    if scope in HOLDING and row.error_class not in ("account_stop", "throttle", "transient"):
        scope = "template" if row.error_class == "template" else "message"
    return Fault(row.error_class, code, detail[:1000], scope)


def outcome_of(found: Fault, retry_after: float | None = None) -> Outcome:
    """The outcome of a complaint."""
    kind = KIND_OF.get(found.error_class, "rejected")
    return Outcome(kind, found.error_class, found.code, found.detail, retry_after=retry_after, scope=found.scope)


def judge(
    reply: WireReply,
    find_id: Callable[[Any], str | None],
    find_fault: Callable[[Any, int], Fault | None],
    patience: Mapping[str, float],
) -> Outcome:
    """Classify an answer (durability.md §3.6–3.7). Never raises, whatever the reply holds.

    ``find_id`` reads the provider's id from the JSON body, ``find_fault`` its complaint (given the HTTP status);
    ``patience`` is the least wait in seconds after some codes.
    """
    if reply.status is None or reply.error:
        return _unanswered(reply)
    data = read_json(reply.body)
    if 200 <= reply.status < 300:
        external_id = find_id(data)
        if external_id is not None:
            return Outcome("accepted", external_id=external_id)
    found = find_fault(data, reply.status)
    if found is not None:
        waits = [wait for wait in (retry_after(reply), patience.get(found.code)) if wait is not None]
        return outcome_of(found, max(waits, default=None))
    return _by_status(reply)


def retry_after(reply: WireReply) -> float | None:
    """The Retry-After header in seconds from now (seconds or an HTTP date, at most a day), or None."""
    text = reply.header("Retry-After").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return min(float(text), LONGEST_WAIT)
    try:
        # The wire's own clock: a moved business clock must not stretch or shrink a real wait.
        seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _unanswered(reply: WireReply) -> Outcome:
    detail = (reply.error or "no answer")[:500]
    if not reply.request_started:
        return Outcome("not_sent", "network", "network", detail, scope="provider")
    return Outcome("ambiguous", "ambiguous", "no_answer", detail, scope="provider")


def _by_status(reply: WireReply) -> Outcome:
    """An answer without a complaint we can read."""
    status = reply.status or 0
    code = f"http_{status}"
    detail = reply.body[:200].decode("utf-8", "replace")
    if status == 429:
        return Outcome("throttled", "throttle", code, detail, retry_after=retry_after(reply), scope="account")
    if status == 401:
        return Outcome("rejected", "account_stop", code, detail, scope="account")
    if 300 <= status < 400:  # the address is wrong; nothing behind it has seen the message
        return Outcome("not_sent", "transient", code, detail, scope="provider")
    if 400 <= status < 500 and status not in (408, 499):
        return Outcome("rejected", "request", code, detail, scope="message")
    return Outcome("ambiguous", "ambiguous", code, detail, scope="provider")
