"""Meta's news of templates and of the account (contracts.md §1.7)."""

from datetime import datetime
from typing import Any

from .base import template_status_word
from .hooks import AccountItem, Item, TemplateStatusItem, UnknownItem
from .wire import e164, fingerprint, instant, items_at, language_code, scrub, text_at

_STOPPING = {"ACCOUNT_DELETED", "ACCOUNT_OFFBOARDED", "PARTNER_REMOVED", "PARTNER_APP_UNINSTALLED"}
_RESUMING = {"ACCOUNT_RECONNECTED"}
_NOTES = {
    "account_alerts",
    "account_review_update",
    "security",
    "phone_number_quality_update",
    "phone_number_name_update",
    "business_capability_update",
}


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
    event = text_at(value, "event") or text_at(value, "decision") or field
    if field == "account_update":
        effect, detail = _effect(event, value)
    elif field in _NOTES:
        effect, detail = "info", text_at(value, "alert_info", "alert_description") or ""
    else:
        return unknown_item(value, at, f"field {field[:60]!r} is new to us")
    phone = e164(text_at(value, "display_phone_number") or text_at(value, "phone_number"))
    detail = detail or text_at(value, "current_limit") or ""
    return AccountItem(key=key, at=at, raw=value, event=event, effect=effect, detail=detail, phone=phone)  # type: ignore[arg-type]


def _effect(event: str, value: dict[str, Any]) -> tuple[str, str]:
    """Whether an account_update stops or resumes sending, and its detail (contracts.md §1.7)."""
    if event == "DISABLED_UPDATE":
        state = text_at(value, "ban_info", "waba_ban_state") or ""
        return {"DISABLE": "stop", "REINSTATE": "resume"}.get(state, "info"), state
    if event == "ACCOUNT_RESTRICTION":
        kinds = [text_at(entry, "restriction_type") or "" for entry in items_at(value, "restriction_info")]
        # Restrictions of calls do not concern messages.
        stopped = any("INITIATED_MESSAGING" in kind or "ALL" in kind.split("_") for kind in kinds)
        return "stop" if stopped else "info", ", ".join(kinds)
    detail = text_at(value, "violation_info", "violation_type") or ""
    return "stop" if event in _STOPPING else "resume" if event in _RESUMING else "info", detail


def _template(value: dict[str, Any], at: datetime, key: str) -> TemplateStatusItem:
    """News of a template. What it says decides, not its field: Meta's own example carries the wrong one."""
    category = text_at(value, "message_template_category")
    changes: dict[str, Any]
    if "new_quality_score" in value:
        changes = {"change": "quality", "quality": (text_at(value, "new_quality_score") or "").lower() or None}
    elif "correct_category" in value:
        category = text_at(value, "correct_category")
        changes = {"change": "announced", "effective_at": instant(value.get("category_update_timestamp"))}
    elif "new_category" in value:
        category, changes = text_at(value, "new_category"), {"change": "category"}
    elif "event" in value:
        changes = {"change": "status", "status": template_status_word(text_at(value, "event"))}
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


def _reason(value: dict[str, Any]) -> str | None:
    paths = (("rejection_info", "reason"), ("reason",), ("other_info", "title"), ("other_info", "description"))
    words = (text_at(value, *path) for path in paths)
    return next((word for word in words if word and word.upper() != "NONE"), None)
