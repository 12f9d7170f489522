"""``POST /send/confirm``: a checkout asks that an order be confirmed on WhatsApp (api.md §5.2)."""

from typing import Annotated, Any

from flask import Blueprint, Response
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from ..domain.lint import lint
from ..domain.orders import GivenConsent, OrderConfirmation, OrderEvent
from ..domain.statuses import Status
from ..domain.text import T
from ..services import messages, sending, templates
from ..services.sending import Sent
from .access import caller, requires
from .idempotency import idempotent
from .media import MediaBody
from .message_items import bubble_of, link_to, skip_of, template_of
from .optin import ConsentBody
from .parsing import (
    ApiModel,
    Instant,
    Locale,
    Metadata,
    Name,
    PhoneField,
    Reference,
    WallClock,
    Wrong,
    Zone,
    body,
    instant_in,
    parse,
)
from .templates import lint_of
from .writing import amount, answer, instant, said

MOST_VARIABLES = 60
LONGEST_VALUE = 1024

blueprint = Blueprint("orders", __name__)


def _check_variables(values: dict[str, str]) -> dict[str, str]:
    if len(values) > MOST_VARIABLES:
        raise Wrong("too_many", T("At most %(count)s are allowed.", count=MOST_VARIABLES))
    for name, value in values.items():
        if len(value) > LONGEST_VALUE:
            raise Wrong("too_long", T("%(key)s: at most %(count)s characters.", key=name, count=LONGEST_VALUE))
    return values


class Recipient(ApiModel):
    """The buyer. ``timezone`` and ``locale`` help to say dates as this person says them."""

    phone: PhoneField
    first_name: Name | None = None
    locale: Locale | None = None
    timezone: Zone | None = None


class Venue(ApiModel):
    name: Name | None = None
    address: Annotated[str, StringConstraints(max_length=500)] | None = None


class EventBody(ApiModel):
    """What the ticket is for. Times are wall-clock times in ``timezone``, or carry their own offset."""

    ref: Reference
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
    starts_at: WallClock
    timezone: Zone
    ends_at: WallClock | None = None
    venue: Venue | None = None
    version: Annotated[int, Field(ge=0, le=2_147_483_647)] = 0

    @model_validator(mode="after")
    def _ends_after_start(self) -> "EventBody":
        ends = instant_in(self.ends_at, self.timezone) if self.ends_at else None
        if ends is not None and ends < instant_in(self.starts_at, self.timezone):
            raise Wrong("ends_before_start", T("ends_at lies before starts_at."))
        return self

    def event(self) -> OrderEvent:
        venue = self.venue.model_dump(exclude_none=True) if self.venue else {}
        return OrderEvent(
            ref=self.ref,
            name=self.name,
            starts_at=instant_in(self.starts_at, self.timezone),
            timezone=self.timezone,
            ends_at=instant_in(self.ends_at, self.timezone) if self.ends_at else None,
            venue=venue,
            version=self.version,
        )


class TemplateWish(ApiModel):
    """Which template, instead of the organisation's own for orders. ``language`` None or ``auto``: chosen by us."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,512}$")] | None = None
    language: Locale | None = None


class Resend(ApiModel):
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class ConfirmBody(ApiModel):
    """The body of ``POST /send/confirm``."""

    order_id: Reference
    recipient: Recipient
    event: EventBody | None = None
    template: TemplateWish | None = None
    variables: Annotated[dict[str, str], AfterValidator(_check_variables)] = {}
    media: MediaBody | None = None
    consent: ConsentBody | None = None
    reminders: (
        Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=8)]], Field(max_length=20)] | None
    ) = None
    expires_at: Instant | None = None
    strict: bool = False
    dry_run: bool = False
    resend: Resend | None = None
    metadata: Metadata = {}

    def order(self, sent: dict[str, Any]) -> OrderConfirmation:
        """The same for the services; ``sent`` is the body as it came."""
        wish = self.template or TemplateWish()
        return OrderConfirmation(
            order_id=self.order_id,
            phone=self.recipient.phone,
            first_name=self.recipient.first_name,
            locale=self.recipient.locale,
            timezone=self.recipient.timezone,
            event=self.event.event() if self.event else None,
            template_name=wish.name,
            template_language=None if wish.language == "auto" else wish.language,
            variables=self.variables,
            consent=_consent(self.consent),
            reminders=None if self.reminders is None else tuple(self.reminders),
            expires_at=self.expires_at,
            strict=self.strict,
            dry_run=self.dry_run,
            resend_reason=self.resend.reason if self.resend else None,
            metadata=self.metadata,
            media=self.media.wish() if self.media else None,
            body=sent,
        )


def _consent(given: ConsentBody | None) -> GivenConsent | None:
    if given is None:
        return None
    return GivenConsent(
        status=given.status,
        source=given.source,
        purposes=None if given.purposes is None else tuple(given.purposes),
        occurred_at=given.occurred_at,
        wording_id=given.wording_id,
        evidence=given.evidence or {},
        source_ref=given.source_ref,
    )


@blueprint.post("/send/confirm")
@requires("send:confirm")
@idempotent
def confirm() -> Response:
    """Confirm an order once, for ever.

    202: stored and on its way. 200: the same order came before (``duplicate``), the person is left out
    (``skipped``), or this was a dry run. 422: a field is wrong, or ``strict`` and the person would be left out.
    """
    asked = parse(ConfirmBody, body())
    sent = sending.send_order_confirmation(caller(), asked.order(body()))
    to = asked.recipient.phone
    shown = to.e164 if caller().may_see_numbers() else to.masked
    new = not (sent.duplicate or sent.refusal or asked.dry_run)
    return answer(_rehearsed(sent, shown) if asked.dry_run else _answer(sent, shown), 202 if new else 200)


def _answer(sent: Sent, to: str) -> dict[str, Any]:
    found: dict[str, Any] = {"message": message_of(sent, to), "duplicate": sent.duplicate}
    if sent.content_differs:
        found["content_differs"] = list(sent.content_differs)
    if sent.reminders is not None:
        found["reminders"] = {"created": sent.reminders.created, "skipped": sent.reminders.skipped}
    if sent.consent is not None:
        events = sent.consent.events
        found["consent"] = {"event_id": events[0].id if events else None, "changed": sent.consent.changed}
    return found


def _rehearsed(sent: Sent, to: str) -> dict[str, Any]:
    """What would be sent and whether it might; nothing was stored, so nothing has an id."""
    found = _answer(sent, to)
    if not sent.duplicate:
        found["message"] |= {"id": None, "links": {}}
        found.pop("consent", None)
    return found | {
        "dry_run": True,
        "would_send": not (sent.duplicate or sent.refusal),
        "preview": bubble_of(sent.rendered()),
        "lint": lint_of(lint(templates.text_of(sent.choice.template))) if sent.choice else None,
    }


def message_of(sent: Sent, to: str) -> dict[str, Any]:
    """A message that was just accepted; ``to`` as the caller may see it."""
    message = sent.message
    found: dict[str, Any] = {
        "id": message.id,
        "type": message.type,
        "status": message.status,
        "lane": message.lane,
        "order_id": message.order_id,
        "to": to,
        "template": _template(sent),
        "price_estimate": _price(sent),
        "created_at": instant(message.created_at),
        "expires_at": instant(message.expires_at),
        "resend_no": message.resend_no,
        "metadata": message.meta,
        "links": {"self": link_to(message)},
    }
    return found | (skip_of(message) if message.status == Status.SKIPPED else {})


def _template(sent: Sent) -> dict[str, Any] | None:
    """The version chosen, and why; of an order that came before, the version it was sent with."""
    if sent.choice is None:
        return template_of(messages.find(caller().tenant, sent.message.id)) if sent.duplicate else None
    template = sent.choice.template
    return {
        "name": template.name,
        "language": template.language,
        "version": template.version,
        "why": [said(reason) for reason in sent.choice.why],
    }


def _price(sent: Sent) -> dict[str, Any] | None:
    message = sent.message
    if message.estimate_micros is None:
        return None
    found = {
        "amount": amount(message.estimate_micros),
        "currency": message.currency,
        "market": message.market,
        "category": message.category,
    }
    return found | ({"card_effective_from": sent.price.effective_from.isoformat()} if sent.price else {})
