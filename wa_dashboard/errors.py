"""Everything that can be refused, and how.

WaError                      anything a rim answers with a problem instead of a page or a result
├── BadRequest          400  the request cannot be read: malformed JSON, wrong cursor, missing Idempotency-Key
├── Unauthenticated     401  no key, unknown key, revoked key
├── PaymentRequired     402  the balance does not cover a strict call
├── Forbidden           403  known caller, missing scope or role
├── NotFound            404  not there, or another tenant's: the two look alike on purpose
├── Conflict            409  the state of the thing does not allow it now
├── TooLarge            413
├── UnsupportedMedia    415
├── Invalid             422  understood, but a field is wrong; carries one Finding per field
├── RateLimited         429  too many API calls (sends are never refused for speed: they queue)
└── NotReady            503  the database is away or the process is stopping; safe to repeat
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .domain.text import T


@dataclass(frozen=True)
class Finding:
    """One thing wrong with one field. ``pointer`` is a JSON pointer into the request (RFC 6901)."""

    pointer: str
    code: str
    detail: str
    extra: Mapping[str, object] = field(default_factory=dict)


class WaError(Exception):
    """A refusal with a stable ``code``, an HTTP status, a sentence that says what to do, and extra members."""

    status = 500
    default_code = "internal_error"
    title: str = T("Something went wrong on our side")

    def __init__(
        self,
        detail: str,
        code: str | None = None,
        *,
        findings: Sequence[Finding] = (),
        retry_after: float | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.findings = tuple(findings)
        self.retry_after = retry_after
        self.extra = dict(extra or {})


class BadRequest(WaError):
    status = 400
    default_code = "malformed_request"
    title = T("The request could not be read")


class Unauthenticated(WaError):
    status = 401
    default_code = "unauthenticated"
    title = T("No valid API key")


class PaymentRequired(WaError):
    status = 402
    default_code = "insufficient_balance"
    title = T("The balance is too low")


class Forbidden(WaError):
    status = 403
    default_code = "scope_missing"
    title = T("Not allowed")


class NotFound(WaError):
    status = 404
    default_code = "not_found"
    title = T("Not found")


class Conflict(WaError):
    status = 409
    default_code = "state_conflict"
    title = T("Not possible in the present state")


class TooLarge(WaError):
    status = 413
    default_code = "body_too_large"
    title = T("The request is too large")


class UnsupportedMedia(WaError):
    status = 415
    default_code = "unsupported_media_type"
    title = T("Send JSON")


class Invalid(WaError):
    status = 422
    default_code = "validation_failed"
    title = T("Request did not validate")


class RateLimited(WaError):
    status = 429
    default_code = "rate_limited"
    title = T("Too many requests")


class NotReady(WaError):
    status = 503
    default_code = "not_ready"
    title = T("Not ready")


def invalid(pointer: str, code: str, detail: str, **extra: object) -> Invalid:
    """The commonest refusal: one field, one reason."""
    return Invalid(detail, findings=[Finding(pointer, code, detail, extra)])
