"""``POST /api/wa/optin``: a checkout reports what a person agreed to, or refused; one person or up to 1,000."""

import json
from typing import Annotated, Any, Literal

from flask import Blueprint, Response, jsonify
from pydantic import AfterValidator, Field

from ..domain.phone import Phone
from ..domain.text import T
from ..errors import WaError
from ..services import consent
from ..services.consent import ConsentRequest, ConsentResult
from ..services.tenants import Caller
from .access import caller, requires
from .idempotency import idempotent
from .parsing import ApiModel, Instant, PhoneField, Reference, Wrong, body, parse
from .problems import problem

MOST_ITEMS = 1000
_EVIDENCE_MAX = 4000

blueprint = Blueprint("optin", __name__)


def _check_evidence(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value, ensure_ascii=False)) > _EVIDENCE_MAX:
        raise Wrong("too_long", T("At most %(count)s characters.", count=_EVIDENCE_MAX))
    return value


def _only_false(value: bool) -> bool:
    if value:
        raise Wrong("not_available", T("Double opt-in is not available yet. Ask the person yourself and report it."))
    return value


class Actor(ApiModel):
    """Who did it, as the caller says."""

    type: Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")]
    id: Reference | None = None


class ConsentBody(ApiModel):
    """What was said, without the person: also the ``consent`` of a send.

    ``purposes``: all when left out of an opt-out; an opt-in must name them. An opt-in to ``marketing`` needs
    ``wording_id`` (which text was agreed to) or ``evidence``, and from an ``import`` also ``source_ref`` and
    ``occurred_at``. ``occurred_at`` defaults to now. ``source_ref`` makes repetitions harmless: a yes repeated
    under the same one counts again only with a newer ``occurred_at``.
    """

    status: Literal["opted_in", "opted_out"]
    purposes: Annotated[list[Literal["transactional", "reminder", "marketing"]], Field(min_length=1)] | None = None
    source: Literal[
        "checkout",
        "settings_page",
        "preference_page",
        "whatsapp_reply",
        "meta_preference",
        "qr",
        "import",
        "staff",
        "api",
    ]
    source_ref: Reference | None = None
    wording_id: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    occurred_at: Instant | None = None
    evidence: Annotated[dict[str, Any], AfterValidator(_check_evidence)] | None = None
    actor: Actor | None = None

    def request_for(self, phone: Phone) -> ConsentRequest:
        """The same for the services."""
        return ConsentRequest(
            phone=phone,
            status=self.status,
            source=self.source,
            purposes=self.purposes,
            occurred_at=self.occurred_at,
            source_ref=self.source_ref,
            wording_id=self.wording_id,
            evidence=self.evidence,
            claimed_by=self.actor.model_dump(exclude_none=True) if self.actor else {},
        )


class OptInBody(ConsentBody):
    """One person's statement."""

    phone: PhoneField
    double_opt_in: Annotated[bool, AfterValidator(_only_false)] = False


class BatchBody(ApiModel):
    """Up to 1,000 statements, each accepted or refused by itself."""

    items: Annotated[list[Any], Field(min_length=1, max_length=MOST_ITEMS)]


@blueprint.post("/optin")
@idempotent
@requires("consent:write")
def post_optin() -> Response:
    """Record one statement (422 when it is wrong), or ``items``: then 200 with ``results``, ``ok`` or not each."""
    if "items" in body():
        return jsonify(results=_record_batch(caller(), parse(BatchBody, body()).items))
    request = parse(OptInBody, body())
    result = consent.record(caller().tenant, request.request_for(request.phone), caller().actor)
    return jsonify(_answer(caller(), result))


def _record_batch(asked_by: Caller, items: list[Any]) -> list[dict[str, Any]]:
    results: dict[int, ConsentResult | WaError] = {}
    requests: dict[int, ConsentRequest] = {}
    for number, item in enumerate(items):
        try:
            parsed = parse(OptInBody, item, at=_pointer(number))
            requests[number] = parsed.request_for(parsed.phone)
        except WaError as refusal:
            results[number] = refusal
    pointers = [_pointer(number) for number in requests]
    recorded = consent.record_many(asked_by.tenant, list(requests.values()), asked_by.actor, at=pointers)
    results.update(zip(requests, recorded, strict=True))
    return [_item(asked_by, results[number]) for number in range(len(items))]


def _pointer(number: int) -> str:
    return f"/items/{number}"


def _item(asked_by: Caller, result: ConsentResult | WaError) -> dict[str, Any]:
    if isinstance(result, ConsentResult):
        return {"ok": True, **_answer(asked_by, result)}
    told: dict[str, Any] = problem(result).get_json()
    return {"ok": False, "error": {name: told[name] for name in told if name not in ("instance", "request_id")}}


def _answer(asked_by: Caller, result: ConsentResult) -> dict[str, Any]:
    person = result.contact
    return {
        "contact": person.id,
        "phone": person.phone if asked_by.may_see_numbers() else person.phone_masked,
        "state": {**result.state, "otp": "implied"},
        "events": [
            {
                "id": event.id,
                "purpose": event.purpose,
                "applied": event.applied,
                "changed": event.changed,
                "duplicate": event.duplicate,
                "chain": {"seq": event.seq, "hash": event.hash},
            }
            for event in result.events
        ],
        "cancelled": {"messages": result.cancelled_messages, "schedules": result.cancelled_schedules},
    }
