"""What comes in from providers: the request as it came, and the items it tells, as plain frozen data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl

from .port import Fault, header_of

MOST_FORM_FIELDS = 2_000


class WebhookMalformed(ValueError):
    """An authentic request whose body cannot be read at all: keep it aside with this ``reason``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class WebhookRequest:
    """A request from outside. ``url`` is the *public* address with its query, never built from Host.

    ``fields`` are the form's pairs in order, blank values kept; left out, they are read from the body.
    ``received_at`` is aware UTC; it stands in where the provider sends no time.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    form: Sequence[tuple[str, str]] | None = None
    received_at: datetime | None = None

    def header(self, name: str) -> str:
        """The header's value whatever its case, ``""`` when absent."""
        return header_of(self.headers, name)

    @cached_property
    def fields(self) -> Sequence[tuple[str, str]]:
        """The form's pairs; empty when the body is no form or has more than 2,000 fields."""
        if self.form is not None:
            return self.form
        if not self.header("Content-Type").lower().startswith("application/x-www-form-urlencoded"):
            return ()
        return _pairs(self.body.decode("utf-8", "replace"))

    @cached_property
    def query(self) -> dict[str, str]:
        """The address's query, last value of each name."""
        return dict(_pairs(self.url.partition("#")[0].partition("?")[2]))


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing a webhook tells. ``key`` is the same for every repetition; ``raw`` is free of NUL and half
    characters; ``account_refs`` are the accounts it claims to be about, as in ``Provider.account_keys``."""

    key: str
    at: datetime
    raw: Mapping[str, Any] = field(default_factory=dict)
    account_refs: tuple[str, ...] = ()


class VolumeTier(NamedTuple):
    """From which message of a month on, and up to which, a market's price of a category is as low as now.

    ``most`` is None where there is no end; ``month`` is ``2025-11``, ``since`` when it was reached (aware UTC)."""

    category: str
    region: str
    least: int
    most: int | None
    month: str | None
    since: datetime | None


class Pricing(NamedTuple):
    """What a receipt says about money: never an amount."""

    billable: bool | None
    category: str | None
    model: str | None
    type: str | None


@dataclass(frozen=True, kw_only=True)
class StatusItem(Item):
    """A receipt. ``recipient`` is E.164 or None; ``error`` only with ``failed``."""

    correlation_id: str | None
    external_id: str | None
    status: Literal["accepted", "sent", "delivered", "read", "failed"]
    error: Fault | None = None
    pricing: Pricing | None = None
    recipient: str | None = None
    recipient_user_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class InboundItem(Item):
    """Something a person wrote or tapped. ``type`` is the provider's word (``text``, ``button``, ``system`` …);
    ``text`` only when the person really wrote or tapped it; ``opt_out_type`` is ``stop``, ``start``, ``help``.

    A ``system`` item says that a person is to be found elsewhere: ``event`` is WhatsApp's word for it
    (``user_changed_number``, ``user_changed_user_id``, ``customer_identity_changed``), ``new_phone`` and
    ``new_user_id`` where. ``in_reply_to`` is also the message that a reaction, an edit or a revocation is about."""

    external_id: str | None
    from_phone: str | None
    from_user_id: str | None = None
    text: str | None = None
    button_payload: str | None = None
    opt_out_type: str | None = None
    in_reply_to: str | None = None
    profile_name: str | None = None
    type: str = "text"
    event: str | None = None
    new_phone: str | None = None
    new_user_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class TemplateStatusItem(Item):
    """News of a template. ``change`` says which field is new: ``status``, ``quality``, ``category``, ``announced``
    (``category`` will apply at ``effective_at``) or ``components`` (read the template again).

    ``previous`` is the category or quality before; ``detail`` and ``recommendation`` are Meta's own sentences about a
    pause or a refusal; ``effective_at`` is also the day on which a template is switched off."""

    change: Literal["status", "quality", "category", "announced", "components"]
    external_id: str | None
    name: str | None
    language: str | None
    status: str | None = None
    reason: str | None = None
    category: str | None = None
    quality: str | None = None
    effective_at: datetime | None = None
    previous: str | None = None
    detail: str | None = None
    recommendation: str | None = None


@dataclass(frozen=True, kw_only=True)
class PreferenceItem(Item):
    """A person told WhatsApp to stop or resume our marketing messages; ``detail`` is WhatsApp's sentence about it."""

    phone: str | None
    value: Literal["stop", "resume"]
    user_id: str | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class AccountItem(Item):
    """News of the account or number. ``effect``: ``stop`` and ``resume`` sending, or ``info``.

    ``topic`` is what it is about, ``event`` the provider's word. The facts are None when it tells none of them:
    ``tier`` different people in 24 hours (0: no limit), ``rate`` messages a second, ``numbers`` the most numbers,
    ``quality`` ``green``, ``yellow``, ``red``; ``name`` the name people see, as asked for; ``decision`` (lower case)
    and ``reason`` of a review; ``restrictions`` and ``until`` when the last of them ends; ``effective_at`` the day of
    a ban; ``severity`` of an alert; ``country`` of the business; ``volume`` for prices."""

    event: str
    effect: Literal["stop", "resume", "info"]
    detail: str = ""
    phone: str | None = None
    fault: Fault | None = None
    topic: Literal["account", "number", "name", "review", "security", "alert", "capability", "error"] = "account"
    tier: int | None = None
    rate: int | None = None
    numbers: int | None = None
    quality: str | None = None
    name: str | None = None
    decision: str | None = None
    reason: str | None = None
    restrictions: tuple[str, ...] = ()
    until: datetime | None = None
    effective_at: datetime | None = None
    severity: str | None = None
    country: str | None = None
    volume: VolumeTier | None = None


@dataclass(frozen=True, kw_only=True)
class UnknownItem(Item):
    """Something we do not act on. ``malformed`` means it looks damaged rather than merely new."""

    reason: str
    malformed: bool = False


def refer(item: Item, refs: tuple[str, ...]) -> Item:
    """The same item, about these accounts."""
    return replace(item, account_refs=refs)


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=MOST_FORM_FIELDS)
    except ValueError:
        return []
