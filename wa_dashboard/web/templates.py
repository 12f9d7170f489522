"""Templates: what can be said, in which languages, and what the providers think of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Response, redirect, url_for
from werkzeug.wrappers import Response as AnyResponse

from ..domain import rendering
from ..domain.lint import lint
from ..domain.statuses import TemplateStatus
from ..domain.story import PROVIDERS
from ..domain.text import T
from ..errors import Invalid, WaError
from ..models import Template, TemplateApproval
from ..services import accounts, overview
from ..services import templates as texts
from . import web
from .access import me, requires, say_next
from .htmx import has, mark_of, render
from .looks import TEMPLATE_LOOKS
from .messages import KINDS

S = TemplateStatus
_PENDING = frozenset({S.SUBMITTING, S.SUBMIT_UNKNOWN, S.PENDING, S.IN_APPEAL})
# The status that a row of many approvals shows: the one that most needs to be known.
_WORST_FIRST = (S.REJECTED, S.DISABLED, S.PAUSED, S.LOCKED, S.LIMIT_EXCEEDED, S.SUBMIT_UNKNOWN, S.SUBMITTING, S.PENDING,
                S.IN_APPEAL, S.FLAGGED, S.APPROVED, S.ARCHIVED, S.DELETED, S.DRAFT)  # fmt: skip

CATEGORIES: dict[str, T] = {
    "utility": T("Utility"),
    "marketing": T("Marketing"),
    "authentication": T("Authentication"),
}
LANGUAGE_NAMES: dict[str, T] = {
    "ro": T("Romanian"),
    "en": T("English"),
    "en_US": T("English (US)"),
    "hu": T("Hungarian"),
}


@dataclass(frozen=True)
class Row:
    """One template in one language."""

    template: Template
    status: str
    last_used: datetime | None


@dataclass(frozen=True)
class Step:
    """A line of an approval's story, for `components/timeline.html`."""

    title: T
    icon: str
    tone: str
    at: datetime
    gap: timedelta | None
    detail: T | None
    ahead: bool = False


@web.get("/templates")
@requires("see")
def templates() -> Response | str:
    """All names, each with a row per language. htmx gets the list alone."""
    newest = texts.listed()
    approvals = texts.approvals_of([template.id for template in newest])
    used = overview.last_used(me().tenant)
    groups: dict[str, list[Row]] = {}
    for template in newest:
        status = status_of(approvals[template.id])
        row = Row(template, status, used.get((template.name, template.language)))
        groups.setdefault(template.name, []).append(row)
    rows = [row for group in groups.values() for row in group]
    mark = mark_of([(row.template.id, row.status, row.last_used) for row in rows])
    if has(mark):
        return Response(status=204)
    return render(
        "templates/list.html",
        "templates/groups.html",
        groups=groups,
        kinds=KINDS,
        language_names=LANGUAGE_NAMES,
        seen=mark,
        poll="every 5s, wake" if any(row.status in _PENDING for row in rows) else None,
        rate=texts.approval_rate(),
    )


@web.post("/templates/starters")
@requires("templates")
def install_starters() -> AnyResponse:
    """The six texts in both languages, sent for approval at once where there is a sender."""
    tenant = me().tenant
    try:
        made = texts.install_starters(tenant, live=tenant.live)
        said = T("Installed and sent for approval: %(count)s texts.", count=len(made))
    except Invalid:
        made = texts.install_starters(tenant, live=tenant.live, submit=False)
        said = T("Installed as drafts: %(count)s texts. Connect a sender to have them approved.", count=len(made))
    say_next(said if made else T("All six were there already."), "good" if made else "info")
    return redirect(url_for("web.templates"), code=303)


@web.get("/templates/<template_id>")
@requires("see")
def template(template_id: str) -> Response | str:
    """One version with sample values, its languages, its checks and its approvals."""
    found = texts.find(template_id)
    newest = {row.language: row for row in texts.listed(name=found.name)}
    approvals = texts.approvals_of([found.id])[found.id]
    stories = _stories(found)
    mark = mark_of([(approval.id, approval.status, approval.status_at) for approval in approvals])
    if has(mark):
        return Response(status=204)
    return render(
        "templates/one.html",
        "templates/approvals.html",
        template=found,
        bubble=rendering.preview(found, found.examples),
        languages_of=[newest.get(code) or found for code in sorted({*newest, found.language})],
        language_names=LANGUAGE_NAMES,
        kinds=KINDS,
        categories=CATEGORIES,
        status=status_of(approvals),
        approvals=[
            (each, accounts.find_account(each.account_id), stories.get(each.account_id, []), _rejection(each))
            for each in approvals
        ],
        providers=PROVIDERS,
        findings=lint(texts.text_of(found)),
        samples=_samples(found),
        outdated=newest[found.language].id if newest[found.language].id != found.id else None,
        can_submit=_can_submit(found, approvals),
        seen=mark,
        poll="every 3s, wake" if any(approval.status in _PENDING for approval in approvals) else None,
    )


@web.post("/templates/<template_id>/submit")
@requires("templates")
def submit_template(template_id: str) -> AnyResponse:
    """Send this text for approval at every sender that has not had it."""
    found = texts.find(template_id)
    try:
        saved = texts.save(me().tenant, texts.text_of(found), submit=True, live=me().tenant.live, actor=me().actor)
    except WaError as problem:
        say_next(problem.findings[0].detail if problem.findings else problem.detail, "bad")
        return redirect(url_for("web.template", template_id=template_id), code=303)
    say_next(T("Sent for approval.") if saved.changed else T("It has been sent for approval before."),
             "good" if saved.changed else "info")  # fmt: skip
    return redirect(url_for("web.template", template_id=saved.template.id), code=303)


def status_of(approvals: list[TemplateApproval]) -> str:
    """The one word for a version on all its accounts: sendable anywhere counts, else the worst."""
    statuses = {approval.status for approval in approvals}
    if not statuses:
        return S.DRAFT
    if statuses & {S.APPROVED} and not statuses & {S.REJECTED, S.PAUSED, S.DISABLED}:
        return S.APPROVED
    return next((word for word in _WORST_FIRST if word in statuses), S.DRAFT)


def _can_submit(template: Template, approvals: list[TemplateApproval]) -> bool:
    """Is there a sender that has not had it, or that refused it before it existed there?"""
    if template.draft or not approvals:
        return True
    return any(approval.status == S.REJECTED and approval.external_id is None for approval in approvals)


def _rejection(approval: TemplateApproval) -> T | None:
    """Why it was refused, while it is."""
    refused = approval.status in (S.REJECTED, S.DISABLED, S.PAUSED) and approval.rejected_reason
    return rejection_in_words(str(approval.rejected_reason)) if refused else None


def _samples(template: Template) -> list[tuple[str, str]]:
    return [(name, template.examples.get(name, "")) for name in rendering.all_variables(template)]


def _stories(template: Template) -> dict[str, list[Step]]:
    """What happened at each account, oldest first."""
    found: dict[str, list[Step]] = {}
    for event, account_id in texts.story_of(template.id):
        look = TEMPLATE_LOOKS.get(event.status, TEMPLATE_LOOKS[S.DRAFT])
        before = found.setdefault(account_id, [])
        gap = event.at - before[-1].at if before else None
        reason: Any = (event.detail or {}).get("reason")
        before.append(
            Step(look.word, look.icon, look.tone, event.at, gap, rejection_in_words(str(reason)) if reason else None)
        )
    return found


_REASONS: dict[str, T] = {
    "INVALID_FORMAT": T("Its form is not as WhatsApp wants it: look at the variables and special characters."),
    "TAG_CONTENT_MISMATCH": T("The language or category does not fit the text."),
    "INCORRECT_CATEGORY": T("It is in the wrong category for what it says."),
    "PROMOTIONAL": T("It advertises, but is not in the marketing category."),
    "ABUSIVE_CONTENT": T("WhatsApp found it abusive or against its policy."),
    "SCAM": T("WhatsApp took it for a scam."),
}


def rejection_in_words(reason: str) -> T:
    """Meta's reason for a rejection as a sentence; the provider's own words when there is none."""
    return _REASONS.get(reason.upper()) or T("The provider says: %(reason)s", reason=reason)
