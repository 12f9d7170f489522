"""What happened to a sender, as the lines of `components/timeline.html`, newest first."""

from collections.abc import Sequence

from ..domain.health import event_sentence
from ..models import AccountEvent
from .steps import Step

_ICONS: dict[str, tuple[str, str]] = {
    "opened": ("x-circle", "bad"),
    "held": ("ban", "bad"),
    "half_open": ("refresh", "warn"),
    "closed": ("check", "good"),
    "slowed": ("hourglass", "warn"),
    "switched_over": ("arrow-right", "info"),
    "receipts_stopped": ("alert", "warn"),
    "receipts_back": ("check", "good"),
    "credentials_replaced": ("key", "info"),
    "quality": ("signal", "info"),
    "tier": ("users", "info"),
    "webhook_registered": ("link", "info"),
    "webhook_set_again": ("refresh", "warn"),
    "switched_on": ("check", "good"),
    "switched_off": ("pause", "off"),
    "code_disowned": ("shield", "warn"),
    "tested": ("x-circle", "bad"),
    "news": ("info", "info"),
    "unknown_news": ("info", "wait"),
}


def story_of(events: Sequence[AccountEvent]) -> list[Step]:
    """Newest first; a kind without an icon gets a dot."""
    found = []
    for event in events:
        icon, tone = _ICONS.get(event.kind, ("dot", "wait"))
        found.append(Step(event_sentence(event.kind, event.detail or {}), icon, tone, event.at))
    return found
