"""A message's story as the lines of `components/timeline.html`: a title, an icon and a tone for each."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ..domain.statuses import Status
from ..domain.text import T
from ..services.messages import Line, Story


@dataclass(frozen=True)
class Step:
    """A line of the story, for `components/timeline.html`."""

    title: T
    icon: str
    tone: str
    at: datetime | None
    gap: timedelta | None = None
    detail: object = None
    ahead: bool = False


_ICONS: dict[str, tuple[str, str]] = {
    "created": ("key", "wait"),
    "asked": ("key", "wait"),
    "consent": ("shield", "good"),
    "consent_checked": ("shield", "good"),
    "queued": ("hourglass", "wait"),
    "attempt": ("send", "info"),
    "throttled": ("hourglass", "warn"),
    "retrying": ("refresh", "warn"),
    "account_held": ("pause", "warn"),
    "template_unavailable": ("pause", "warn"),
    "recipient_defer": ("hourglass", "warn"),
    "without_media": ("file", "warn"),
    "switched_over": ("refresh", "info"),
    "restored": ("pause", "warn"),
    "released": ("refresh", "info"),
    "released_unasked": ("refresh", "warn"),
    "in_doubt_again": ("help", "warn"),
    "not_risked": ("help", "warn"),
    "uncertain": ("help", "warn"),
    "waits_for_receipts": ("hourglass", "warn"),
    "looked_up": ("check", "info"),
    "sent_again": ("refresh", "warn"),
    "requeued": ("refresh", "info"),
    "number_changed": ("edit", "info"),
    "accepted": ("check", "info"),
    "sent": ("check", "info"),
    "delivered": ("checks", "good"),
    "read": ("eye", "good"),
    "failed": ("x-circle", "bad"),
    "unconfirmed": ("help", "warn"),
    "dead_letter": ("alert", "bad"),
    "skipped": ("skip", "off"),
    "cancelled": ("ban", "off"),
    "cancel_requested": ("ban", "warn"),
    "expired": ("clock", "off"),
    "code_used": ("shield", "good"),
    "code_blocked": ("ban", "warn"),
    "code_disowned": ("alert", "bad"),
    "charged": ("ticket", "off"),
}
# Kinds whose sentence is long: what happened as the title, why and what to do below it.
_SHORT: dict[str, T] = {
    "failed": T("Not delivered"),
    "dead_letter": T("Stuck: we stopped trying"),
    "retrying": T("Did not get through; it will be tried again by itself"),
    "skipped": T("Left out"),
    "cancelled": T("Cancelled before it was sent"),
}
_AHEAD: dict[str, tuple[T, ...]] = {
    Status.QUEUED: (T("Sent by WhatsApp"), T("Arrived on the phone")),
    Status.SENDING: (T("Sent by WhatsApp"), T("Arrived on the phone")),
    Status.ACCEPTED: (T("Sent by WhatsApp"), T("Arrived on the phone")),
    Status.SENT: (T("Arrived on the phone"),),
    Status.DELIVERED: (T("Read"),),
}


def steps_of(story: Story) -> list[Step]:
    """The story, and what is still to come if all goes well."""
    found = [_step(line) for line in story.lines]
    for text in _AHEAD.get(story.message.status, ()):
        icon = "eye" if text == "Read" else "checks" if text.startswith("Arrived") else "check"
        found.append(Step(text, icon, "off", None, ahead=True))
    return found


def _step(line: Line) -> Step:
    icon, tone = _ICONS.get(line.kind, ("dot", "wait"))
    title, detail = line.text, None
    if line.kind in _SHORT and "why" in line.text.params:
        params = line.text.params
        title = _SHORT[line.kind]
        detail = T("%(why)s %(advice)s", **params) if "advice" in params else params["why"]
    return Step(title, icon, tone, line.at, line.gap, detail)
