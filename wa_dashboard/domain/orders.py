"""What a checkout tells us about an order, once it has been read and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .media import MediaWish
from .phone import Phone


@dataclass(frozen=True)
class OrderEvent:
    """The show, match or conference of the order. Instants are aware UTC; ``timezone`` is its IANA zone.

    ``venue`` is as the caller gave it: ``name``, ``address``, both optional. ``version`` grows with each change
    the checkout makes to the event.
    """

    ref: str
    name: str
    starts_at: datetime
    timezone: str
    ends_at: datetime | None = None
    venue: Mapping[str, str] = field(default_factory=dict)
    version: int = 0


@dataclass(frozen=True)
class GivenConsent:
    """What the buyer agreed to while ordering.

    ``status``: ``opted_in`` or ``opted_out``; ``purposes`` None: all, which only an opt-out may mean;
    ``occurred_at`` aware UTC, None: now.
    """

    status: str
    source: str
    purposes: tuple[str, ...] | None = None
    occurred_at: datetime | None = None
    wording_id: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    source_ref: str | None = None


@dataclass(frozen=True)
class OrderConfirmation:
    """A wish to confirm one order to one person.

    ``reminders``: intervals such as ``D-7``; None leaves them to the tenant's settings, an empty tuple wants none.
    ``expires_at`` aware UTC. ``resend_reason`` is set when the same order is to be confirmed again on purpose.
    ``body`` is the request as it came, to say later what differs when the same order comes again.
    """

    order_id: str
    phone: Phone
    first_name: str | None = None
    locale: str | None = None
    timezone: str | None = None
    event: OrderEvent | None = None
    template_name: str | None = None
    template_language: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    consent: GivenConsent | None = None
    reminders: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    strict: bool = False
    dry_run: bool = False
    resend_reason: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    media: MediaWish | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
