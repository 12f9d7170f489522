"""Templates: what can be said, in which languages, and what the providers think of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flask import Response, redirect, url_for
from werkzeug.wrappers import Response as AnyResponse

from ..domain import rendering
from ..domain.text import T
from ..errors import Invalid, WaError
from ..models import Template, TemplateApproval
from ..services import accounts, category_watch, overview
from ..services import templates as texts
from . import web
from .access import may, me, requires, say_next
from .htmx import has, mark_of, render
from .language_names import language_name
from .messages import KINDS
from .overview import price_sentence
from .template_matrix import CATEGORIES, PENDING, S, category_of, matrix_of, quality_of, status_of

TWINS = ("ro", "en")  # the languages every text should have


@dataclass(frozen=True)
class Row:
    """One template in one language. ``moved``: the provider counts it in another category than was asked for."""

    template: Template
    status: str
    quality: tuple[T, str] | None
    category: T | str
    moved: bool
    last_used: datetime | None


@web.get("/templates")
@requires("see")
def templates() -> Response | str:
    """All names, each with a row per language. htmx gets the list alone."""
    newest = texts.listed()
    approvals = texts.approvals_of([template.id for template in newest])
    used = overview.last_used(me().tenant)
    groups: dict[str, list[Row]] = {}
    for template in newest:
        row = _row(template, approvals[template.id], used.get((template.name, template.language)))
        groups.setdefault(template.name, []).append(row)
    rows = [row for group in groups.values() for row in group]
    mark = mark_of([(row.template.id, row.status, row.quality, row.category, row.last_used) for row in rows])
    if has(mark):
        return Response(status=204)
    return render(
        "templates/list.html",
        "templates/groups.html",
        groups=groups,
        kinds=KINDS,
        language_name=language_name,
        seen=mark,
        poll="every 5s, wake" if any(row.status in PENDING for row in rows) else None,
        rate=texts.approval_rate(),
        may_write=may("templates"),
    )


def _row(template: Template, approvals: Sequence[TemplateApproval], used: datetime | None) -> Row:
    category, moved = category_of(template, approvals)
    return Row(template, status_of(approvals), quality_of(approvals), category, moved, used)


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
    """One version with sample values, its checks, and what every sender thinks of every language and version."""
    found = texts.find(template_id)
    newest = {row.language: row for row in texts.listed(name=found.name)}
    matrix = matrix_of(found)
    mark = mark_of(matrix.seen)
    if has(mark):
        return Response(status=204)
    approvals = texts.approvals_of([found.id])[found.id]
    return render(
        "templates/one.html",
        "templates/approvals.html",
        template=found,
        bubble=rendering.preview(found, found.examples),
        languages_of=[newest.get(code) or found for code in sorted({*newest, found.language})],
        missing=[code for code in TWINS if not any(code == each.partition("_")[0] for each in newest)],
        language_name=language_name,
        kinds=KINDS,
        categories=CATEGORIES,
        status=status_of(approvals),
        matrix=matrix,
        findings=[(each, None) for each in texts.check(me().tenant, texts.text_of(found), live=me().tenant.live)],
        samples=[(name, found.examples.get(name, "")) for name in rendering.all_variables(found)],
        newest=newest[found.language],
        newest_of=newest,
        can_submit=may("templates") and _can_submit(found, approvals),
        may_write=may("templates"),
        senders=len(accounts.accounts_of(me().tenant, me().tenant.live)),
        alarms=_price_alarms(found, approvals),
        seen=mark,
        poll="every 3s, wake" if matrix.pending else None,
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


def _price_alarms(template: Template, approvals: Sequence[TemplateApproval]) -> list[T]:
    """What a change of its category costs for what waits; nothing is counted where there is none."""
    if not any(approval.announced_category or approval.previous_category for approval in approvals):
        return []
    told = category_watch.announced(me().tenant, me().tenant.live)
    return [price_sentence(each) for each in told if each.template.id == template.id]


def _can_submit(template: Template, approvals: Sequence[TemplateApproval]) -> bool:
    """Is there a sender that has not had it, or that refused it before it existed there?"""
    if template.draft or not approvals:
        return True
    return any(approval.status == S.REJECTED and approval.external_id is None for approval in approvals)
