"""A message as JSON (api.md §5.8), and as its whole story."""

from collections.abc import Sequence
from typing import Any

from ..domain.failures import explain
from ..domain.rendering import Bubble
from ..domain.statuses import Status
from ..domain.story import skip_reason
from ..models import Attempt, Message
from ..services.messages import Found, Line, Story, may_be_cancelled
from .access import caller
from .writing import amount, instant, number, said

_TROUBLED = frozenset({Status.FAILED, Status.DEAD_LETTER, Status.UNCONFIRMED, Status.QUEUED, Status.UNCERTAIN})


def item_of(found: Found) -> dict[str, Any]:
    """One entry of the list."""
    message = found.message
    item = {
        "id": message.id,
        "type": message.type,
        "status": message.status,
        "status_at": instant(message.status_at),
        "to": number(found.contact),
        "market": message.market,
        "template": template_of(found),
        "order_id": message.order_id,
        "event_ref": message.event_ref,
        "campaign_id": None,
        "provider": message.provider,
        "account": message.account_id,
        "external_id": message.external_id,
        "attempts": message.attempts,
        "possible_duplicate": message.possible_duplicate,
        "cost": {
            "estimate": amount(message.estimate_micros),
            "charged": amount(message.charged_micros),
            "currency": message.currency,
            "category": message.category,
            "billable": message.billable,
            "reported": amount(message.reported_micros),
            "reported_currency": message.reported_currency,
        },
        "timeline": {
            "created": instant(message.created_at),
            "accepted": instant(message.accepted_at),
            "sent": instant(message.sent_at),
            "delivered": instant(message.delivered_at),
            "read": instant(message.read_at),
            "failed": instant(message.failed_at),
        },
        "error": error_of(message),
        "metadata": message.meta,
        "live": message.live,
        "lane": message.lane,
        "resend_no": message.resend_no,
        "expires_at": instant(message.expires_at),
        "updated_at": instant(message.updated_at),
    }
    return item | waiting_of(message) | {"links": {"self": link_to(message)}}


def template_of(found: Found) -> dict[str, Any] | None:
    """Name, language and version of the template, None while none could be chosen."""
    message = found.message
    if message.template_name is None:
        return None
    return {"name": message.template_name, "language": message.language, "version": found.version}


def waiting_of(message: Message) -> dict[str, Any]:
    """Why it waits, and until when; why it was left out; whether it is to be stopped."""
    members: dict[str, Any] = {}
    if message.status == Status.QUEUED:
        members |= {"hold_reason": message.reason, "next_at": instant(message.next_at)}
    if message.status == Status.SKIPPED:
        members |= skip_of(message)
    if message.status in (Status.CANCELLED, Status.EXPIRED):
        members["reason"] = message.reason
    if message.cancel_requested:
        members["cancel_requested"] = True
    return members


def skip_of(message: Message) -> dict[str, Any]:
    """Why the person was left out, as a code and as a sentence."""
    zone = caller().tenant.timezone
    return {
        "skip_reason": message.reason,
        "skip_detail": said(skip_reason(message.reason, message.reason_detail, zone)),
    }


def error_of(message: Message) -> dict[str, Any] | None:
    """What went wrong with it last, in words; None when nothing did, or when it arrived nevertheless."""
    if message.status not in _TROUBLED or not (message.error_code or message.error_class):
        return None
    again = message.next_at if message.status == Status.QUEUED else None
    return problem_of(message.error_class, message.error_code) | {"retry_at": instant(again)}


def problem_of(error_class: str | None, code: str | None) -> dict[str, Any]:
    """A provider's complaint: its code, our class, and both sentences."""
    found = explain(error_class, code)
    return {"code": code, "class": error_class, "reason": said(found.reason), "advice": said(found.advice)}


def link_to(message: Message) -> str:
    """A path of this API, as every other link in its answers."""
    return f"/api/wa/messages/{message.tenant_id}/{message.id}"


# --- the story --------------------------------------------------------------------------------------------------


def story_of(story: Story) -> dict[str, Any]:
    """The entry of the list, and below it everything that happened."""
    return item_of(story.found) | {
        "preview": bubble_of(story.found.bubble),
        "events": lines_of(story.lines),
        "attempts_made": attempts_of(story.attempts),
        "webhooks": [
            {
                "id": webhook.item.event_id,
                "kind": webhook.item.kind,
                "state": webhook.item.state,
                "at": instant(webhook.item.at),
                "received_at": instant(webhook.received_at),
            }
            for webhook in story.webhooks
        ],
        "cancellable": may_be_cancelled(story.message),
    }


def lines_of(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """What happened, in order, each with a sentence."""
    return [
        {
            "at": instant(line.at),
            "kind": line.kind,
            "text": said(line.text),
            "attempt": line.attempt_no,
            "after_s": round(line.gap.total_seconds(), 3) if line.gap is not None else None,
        }
        for line in lines
    ]


def attempts_of(attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    """Each request to a provider."""
    return [
        {
            "number": attempt.attempt_no,
            "provider": attempt.provider,
            "account": attempt.account_id,
            "started_at": instant(attempt.started_at),
            "ended_at": instant(attempt.ended_at),
            "outcome": attempt.outcome,
            "external_id": attempt.external_id,
            "http_status": attempt.http_status,
            "error": (
                problem_of(attempt.error_class, attempt.error_code) | {"detail": attempt.error_detail}
                if attempt.error_code or attempt.error_class
                else None
            ),
        }
        for attempt in attempts
    ]


def bubble_of(bubble: Bubble | None) -> dict[str, Any] | None:
    """The message as the person sees it."""
    if bubble is None:
        return None
    return {
        "header": bubble.header or None,
        "header_format": bubble.header_format,
        "text": bubble.body,
        "footer": bubble.footer or None,
        "buttons": [{"type": button.type, "text": button.text, "url": button.url} for button in bubble.buttons],
    }
