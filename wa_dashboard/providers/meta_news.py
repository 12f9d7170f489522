"""Meta's news of templates and of the account (contracts.md §1.7)."""

import re
from datetime import UTC, datetime
from typing import Any

from .hooks import AccountItem, Item, TemplateStatusItem, UnknownItem, VolumeTier
from .template_words import template_status_word
from .wire import dig, e164, fingerprint, instant, items_at, language_code, scrub, text_at

_STOPPING = {"ACCOUNT_DELETED", "ACCOUNT_OFFBOARDED", "PARTNER_REMOVED", "PARTNER_APP_UNINSTALLED"}
_RESUMING = {"ACCOUNT_RECONNECTED"}
_TOPICS = {
    "account_update": "account",
    "account_alerts": "alert",
    "account_review_update": "review",
    "security": "security",
    "phone_number_quality_update": "number",
    "phone_number_name_update": "name",
    "business_capability_update": "capability",
}
_MULTIPLES = {"": 1, "K": 1_000, "M": 1_000_000}
# Meta raises a number's throughput from 80 messages a second to a thousand (contracts.md §1.9).
_UPGRADED_RATE = 1_000


def unknown_item(raw: Any, at: datetime, reason: str, *, malformed: bool = False) -> UnknownItem:
    """What we do not act on, cleaned so that it can be stored."""
    clean = scrub(raw)
    kept = clean if isinstance(clean, dict) else {"value": clean}
    return UnknownItem(key=f"unknown:{fingerprint(raw)}", at=at, raw=kept, reason=reason, malformed=malformed)


def news_item(field: str, value: dict[str, Any], at: datetime, account: str | None) -> Item:
    """A change that is about a template or about the account."""
    key = f"{field}:{fingerprint(account, value, at.isoformat())}"
    if "message_template_id" in value or "message_template_name" in value:
        return _template(value, at, key)
    if field not in _TOPICS:
        return unknown_item(value, at, f"field {field[:60]!r} is new to us")
    alert = text_at(value, "alert_info", "alert_type")
    event = text_at(value, "event") or alert or text_at(value, "decision") or field
    effect, detail = _effect(event, value) if field == "account_update" else ("info", "")
    facts = _facts(event, value)
    return AccountItem(
        key=key,
        at=at,
        raw=value,
        event=event,
        effect=effect,  # type: ignore[arg-type]
        detail=detail or text_at(value, "alert_info", "alert_description") or text_at(value, "current_limit") or "",
        phone=e164(text_at(value, "display_phone_number") or text_at(value, "phone_number")),
        topic=_TOPICS[field],  # type: ignore[arg-type]
        **facts,
    )


def accounts_meant(value: dict[str, Any], entry_id: str | None) -> tuple[str | None, str | None]:
    """The WABA and the phone number id that news is about: a partner hears of its customers' accounts under an entry
    of its own, and alerts name what they are about."""
    kind, entity = text_at(value, "entity_type"), text_at(value, "entity_id")
    number = entity if kind == "PHONE_NUMBER" else None
    waba = text_at(value, "waba_info", "waba_id") or (entity if kind == "WABA" else None)
    return waba or entry_id, number


def _effect(event: str, value: dict[str, Any]) -> tuple[str, str]:
    """Whether an account_update stops or resumes sending, and its detail (contracts.md §1.7)."""
    if event == "DISABLED_UPDATE":
        state = text_at(value, "ban_info", "waba_ban_state") or ""
        return {"DISABLE": "stop", "REINSTATE": "resume"}.get(state, "info"), state
    if event == "ACCOUNT_RESTRICTION":
        kinds = _restrictions(value)
        # Restrictions of calls do not concern messages.
        stopped = any("INITIATED_MESSAGING" in kind or "ALL" in kind.split("_") for kind in kinds)
        return "stop" if stopped else "info", ", ".join(kinds)
    detail = text_at(value, "violation_info", "violation_type") or ""
    return "stop" if event in _STOPPING else "resume" if event in _RESUMING else "info", detail


def _restrictions(value: dict[str, Any]) -> tuple[str, ...]:
    kinds = (text_at(entry, "restriction_type") for entry in items_at(value, "restriction_info"))
    return tuple(kind for kind in kinds if kind)


def _facts(event: str, value: dict[str, Any]) -> dict[str, Any]:
    """What the news tells, in the words of AccountItem."""
    ends = (instant(dig(entry, "expiration")) for entry in items_at(value, "restriction_info"))
    certified = text_at(value, "partner_client_certification_info", "status")
    decision = text_at(value, "decision") or certified
    refusals = items_at(value, "partner_client_certification_info", "rejection_reasons")
    said = [text_at(value, "rejection_reason"), *(reason for reason in refusals if isinstance(reason, str))]
    limits = (_tier(dig(value, key)) for key in _TIER_KEYS)
    counts = (dig(value, key) for key in ("max_phone_numbers_per_waba", "max_phone_numbers_per_business"))
    return {
        "tier": next((limit for limit in limits if limit is not None), None),
        "rate": _UPGRADED_RATE if event == "THROUGHPUT_UPGRADE" else None,
        "numbers": next((n for n in counts if isinstance(n, int) and not isinstance(n, bool)), None),
        "quality": "red" if event == "FLAGGED" else None,
        "name": text_at(value, "requested_verified_name"),
        "decision": decision.lower() if decision else None,
        "reason": next((reason for reason in said if reason and reason.upper() != "NONE"), None),
        "restrictions": _restrictions(value),
        "until": max((end for end in ends if end), default=None),
        "effective_at": _day(text_at(value, "ban_info", "waba_ban_date")),
        "severity": (text_at(value, "alert_info", "alert_severity") or "").lower() or None,
        "country": text_at(value, "country"),
        "volume": _volume(value.get("volume_tier_info")),
    }


_TIER_KEYS = (
    "current_limit",
    "max_daily_conversations_per_business",
    "max_daily_conversation_per_business",
    "max_daily_conversation_per_phone",
)


def _tier(value: Any) -> int | None:
    """How many different people in 24 hours: 2000 in ``2000``, ``"TIER_2K"``; 0 in ``"TIER_UNLIMITED"`` and ``-1``."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    word = str(value).upper().removeprefix("TIER_")
    if word in ("UNLIMITED", "-1"):
        return 0
    found = re.fullmatch(r"([0-9]{1,9})([KM]?)", word, re.ASCII)
    return int(found[1]) * _MULTIPLES[found[2]] if found and int(found[1]) else None


def _volume(value: Any) -> VolumeTier | None:
    found = re.fullmatch(r"([0-9]{1,15}):([0-9]{1,15})?", text_at(value, "tier") or "", re.ASCII)
    category, region = text_at(value, "pricing_category"), text_at(value, "region")
    if not (found and category and region):
        return None
    most = int(found[2]) if found[2] else None
    since = instant(dig(value, "tier_update_time"))
    return VolumeTier(category.lower(), region, int(found[1]), most, text_at(value, "effective_month"), since)


def _day(text: str | None) -> datetime | None:
    """The day in ``April 3, 2026``, at midnight UTC."""
    try:
        return datetime.strptime(text or "", "%B %d, %Y").replace(tzinfo=UTC)
    except ValueError:
        return None


def _template(value: dict[str, Any], at: datetime, key: str) -> TemplateStatusItem:
    """News of a template. What it says decides, not its field: Meta's own example carries the wrong one."""
    category = text_at(value, "message_template_category")
    changes: dict[str, Any]
    if "new_quality_score" in value:
        changes = {
            "change": "quality",
            "quality": _score(value, "new_quality_score"),
            "previous": _score(value, "previous_quality_score"),
        }
    elif "correct_category" in value:
        category = text_at(value, "correct_category")
        changes = {
            "change": "announced",
            "effective_at": instant(value.get("category_update_timestamp")),
            "previous": _lower(value, "new_category"),  # Meta's name for the present one
        }
    elif "new_category" in value:
        category = text_at(value, "new_category")
        changes = {"change": "category", "previous": _lower(value, "previous_category")}
    elif "event" in value:
        changes = {
            "change": "status",
            "status": template_status_word(text_at(value, "event")),
            "effective_at": instant(dig(value, "disable_info", "disable_date")),
            "detail": text_at(value, "other_info", "description"),
            "recommendation": text_at(value, "rejection_info", "recommendation"),
        }
    else:
        changes = {"change": "components"}
    return TemplateStatusItem(
        key=key,
        at=at,
        raw=value,
        external_id=text_at(value, "message_template_id"),
        name=text_at(value, "message_template_name"),
        language=language_code(text_at(value, "message_template_language")),
        reason=_reason(value),
        category=category.lower() if category else None,
        **changes,
    )


def _lower(value: dict[str, Any], key: str) -> str | None:
    found = text_at(value, key)
    return found.lower() if found else None


def _score(value: dict[str, Any], key: str) -> str | None:
    found = _lower(value, key)
    return None if found == "unknown" else found


def _reason(value: dict[str, Any]) -> str | None:
    paths = (("rejection_info", "reason"), ("reason",), ("other_info", "title"), ("other_info", "description"))
    words = (text_at(value, *path) for path in paths)
    return next((word for word in words if word and word.upper() != "NONE"), None)
