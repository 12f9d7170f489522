"""Providers' words for the state of a template, and ours."""

# Providers' words for a template's state, in any case, and ours (states.md §6.4; contracts.md §1.3, §2.3).
TEMPLATE_STATUS = {
    "pending": "pending",
    "submitted": "pending",
    "received": "pending",
    "in_review": "pending",
    "approved": "approved",
    "reinstated": "approved",
    "unarchived": "approved",
    "unpaused": "approved",
    "rejected": "rejected",
    "paused": "paused",
    "flagged": "flagged",
    "disabled": "disabled",
    "in_appeal": "in_appeal",
    "archived": "archived",
    "locked": "locked",
    "limit_exceeded": "limit_exceeded",
    "pending_deletion": "deleted",
    "deleted": "deleted",
    "unsubmitted": "draft",
}


def template_status_word(raw: str | None) -> str:
    """Our word for a provider's word, ``"unknown"`` for a new one."""
    return TEMPLATE_STATUS.get((raw or "").strip().lower(), "unknown")
