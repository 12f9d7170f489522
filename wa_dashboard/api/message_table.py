"""The same list as CSV: streamed page by page, safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterator, Sequence

from flask import Response, stream_with_context

from ..db import end_read, tenant_scope
from ..models import Contact
from ..services import messages
from ..services.messages import Filters, Found
from ..services.tenants import Caller
from .writing import amount, instant

BATCH = 500
MOST_ROWS = 1_000_000
_BOM = "\ufeff"  # tells spreadsheets that it is UTF-8
COLUMNS = (
    "id", "type", "status", "status_at", "to", "market", "template", "language", "version", "order_id", "event_ref",
    "provider", "account", "external_id", "attempts", "possible_duplicate", "estimate", "charged", "currency",
    "category", "billable", "created", "accepted", "sent", "delivered", "read", "failed", "error_code", "error_class",
    "reason", "reported", "reported_currency",
)  # fmt: skip


def csv_of(caller: Caller, filters: Filters) -> Response:
    """Everything that matches, as a download. Numbers are whole only with ``pii:read``."""
    lines = stream_with_context(_lines(caller, filters))
    response = Response(lines, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="messages.csv"'
    return response


def _lines(caller: Caller, filters: Filters) -> Iterator[str]:
    """Text in pieces. Each piece is read in a scope of its own: the request's has ended when this runs."""
    yield _BOM + _written([COLUMNS])
    place, left = None, MOST_ROWS
    while left > 0:
        with tenant_scope(caller.tenant.id):
            page = messages.search(caller.tenant, filters, place, min(BATCH, left))
            text = _written([_row(found, caller) for found in page.rows])
            end_read()
        yield text
        place, left = page.next, left - len(page.rows)
        if place is None:
            return


def _row(found: Found, caller: Caller) -> tuple[object, ...]:
    message = found.message
    return (
        message.id, message.type, message.status, instant(message.status_at), _number(found.contact, caller),
        message.market, message.template_name, message.language, found.version, message.order_id, message.event_ref,
        message.provider, message.account_id, message.external_id, message.attempts, message.possible_duplicate,
        amount(message.estimate_micros), amount(message.charged_micros), message.currency, message.category,
        message.billable, instant(message.created_at), instant(message.accepted_at), instant(message.sent_at),
        instant(message.delivered_at), instant(message.read_at), instant(message.failed_at), message.error_code,
        message.error_class, message.reason, amount(message.reported_micros), message.reported_currency,
    )  # fmt: skip


def _number(contact: Contact, caller: Caller) -> str:
    return str(contact.phone) if caller.may_see_numbers() else contact.phone_masked


def _written(rows: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def _harmless(cell: object) -> str:
    """No spreadsheet takes it for a formula (ASVS 5.0 1.2.10)."""
    text = "" if cell is None else str(cell)
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else text
