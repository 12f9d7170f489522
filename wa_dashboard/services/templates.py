"""Message templates: kept in versions, sent for approval, and chosen when a message is to go out (api.md §5.1, §5.2).

Following an approval is `template_review`, sending for it `template_submission`; both are reachable from here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select

from .. import clock, queues
from ..db import clock_of_database, db, tenant_scope, transaction
from ..domain.ids import new_id
from ..domain.lint import CATEGORY_OF, LintFinding, has_errors, lint
from ..domain.lint_meaning import TTL
from ..domain.packs import PACKS, texts_of
from ..domain.rendering import TemplateText, provider_name
from ..domain.starters import code_text, starters
from ..domain.statuses import TemplateStatus
from ..domain.text import T
from ..errors import Finding, Invalid, NotFound, invalid
from ..models import ProviderAccount, Template, TemplateApproval, Tenant
from . import accounts, audit
from .template_around import Neighbours, digest, neighbours
from .template_choice import Choice, choose, language_chain
from .template_drafts import to_provider_draft
from .template_review import Rate, apply_news, approval_rate, look_again, move, poll_due, story_of
from .template_submission import approve_now, submit_due

__all__ = [
    "Choice", "Neighbours", "Rate", "Saved", "apply_news", "approval_rate", "approvals_of", "approve_now", "check",
    "choose", "find", "install_pack", "install_starters", "language_chain", "listed", "look_again", "neighbours",
    "poll_due", "provider_name", "save", "story_of", "submit_due", "text_of", "to_provider_draft",
]  # fmt: skip

S = TemplateStatus
RESERVED = 200  # versions of one name that a new name must not collide with


@dataclass(frozen=True)
class Saved:
    """What saving came to. ``created``: a new version exists; ``changed``: something is not as it was before."""

    template: Template
    changed: bool
    created: bool
    findings: list[LintFinding]
    approvals: list[TemplateApproval]


# --- keeping ----------------------------------------------------------------------------------------------------


def save(
    tenant: Tenant,
    text: TemplateText,
    *,
    submit: bool,
    live: bool,
    account_ids: Sequence[str] | None = None,
    actor: str = "command",
) -> Saved:
    """Keep the text as the newest version of its name and language, and send it for approval if ``submit``.

    The same content changes nothing; a draft is edited in place; anything else becomes a new version. Submission
    goes to ``account_ids``, or to every account of the mode, and happens after the commit, by `submit_due`.

    Raises Invalid: ``lint_failed`` (only with ``submit``; nothing is stored), a category that does not fit the
    type, an unknown account, no account at all, a name that is in use for a version of another.
    """
    findings = check(tenant, text, live=live)
    text = _normal(text)
    _refuse_category(text)
    _refuse_ttl(text)
    if has_errors(findings) and (submit or not _fits(text)):
        raise _lint_failed(findings)
    with tenant_scope(tenant.id), transaction():
        _one_at_a_time(tenant)
        chosen = _chosen_accounts(tenant, live, account_ids) if submit or account_ids else []
        template, changed, created = _keep(tenant, text)
        added = _request_approvals(template, chosen) if submit else []
        if changed or added:
            detail = {"name": template.name, "language": template.language, "version": template.version}
            audit.record(tenant.id, actor, "template.submitted" if added else "template.saved", template.id, **detail)
        if added:
            queues.wake_chores()
        db.session.flush()
    with tenant_scope(tenant.id):
        return Saved(template, changed or bool(added), created, findings, approvals_of([template.id])[template.id])


def check(tenant: Tenant, text: TemplateText, *, live: bool, beside: Neighbours | None = None) -> list[LintFinding]:
    """Everything the lint says of the text where it would stand; stores nothing.

    ``beside``: the organiser's other templates, if they were read before (`neighbours`).
    """
    with tenant_scope(tenant.id):
        around = (beside or neighbours(live=live)).of(_normal(text))
    return lint(_tidy(text), around)


def _tidy(text: TemplateText) -> TemplateText:
    """Line ends as WhatsApp has them, nothing empty kept."""
    return replace(
        text,
        body=text.body.replace("\r\n", "\n").strip(),
        footer=(text.footer or "").strip() or None,
        header=text.header or None,
    )


def _normal(text: TemplateText) -> TemplateText:
    """What is kept of a text: tidy, and Meta's own words in a message with a code."""
    text = _tidy(text)
    if text.category != "authentication" or text.type != "otp":
        return text
    given: dict[str, Any] = next((button for button in text.buttons if button.get("type") == "otp"), {})
    minutes = given.get("code_expiration_minutes")
    fixed = code_text(text.name, text.language, button=given.get("text"), **({"minutes": minutes} if minutes else {}))
    return replace(fixed, ttl_seconds=text.ttl_seconds, examples={**fixed.examples, **_code_example(text)})


def _code_example(text: TemplateText) -> dict[str, str]:
    return {"code": text.examples["code"]} if text.examples.get("code") else {}


def _refuse_category(text: TemplateText) -> None:
    fitting = CATEGORY_OF[text.type]
    if text.category != fitting:
        detail = T("A template of the type %(type)s has the category %(category)s.", type=text.type, category=fitting)
        raise invalid("/category", "category_mismatch", detail, expected=fitting)


def _refuse_ttl(text: TemplateText) -> None:
    """How long WhatsApp may try to deliver: seconds, -1 for thirty days (contracts.md §1.2)."""
    low, high = TTL[text.category]
    if text.ttl_seconds is not None and text.ttl_seconds != -1 and not low <= text.ttl_seconds <= high:
        detail = T("For this category WhatsApp takes %(low)s to %(high)s seconds.", low=low, high=high)
        raise invalid("/ttl_seconds", "ttl_out_of_range", detail)


def _fits(text: TemplateText) -> bool:
    """Can it be kept at all, even as a draft?"""
    return len(text.name) <= 512 and len(text.language) <= 16 and len(text.footer or "") <= 200


def _lint_failed(findings: Sequence[LintFinding]) -> Invalid:
    found = [
        Finding(
            finding.pointer,
            finding.rule,
            finding.message,
            {"rule": finding.rule, "level": finding.level, "fix": finding.fix},
        )
        for finding in findings
    ]
    count = sum(finding.level == "error" for finding in findings)
    detail = T("WhatsApp would refuse this template: %(count)s things to correct.", count=count)
    return Invalid(detail, "lint_failed", findings=found)


def _one_at_a_time(tenant: Tenant) -> None:
    """Two people who save at once get two versions, one after the other."""
    lock = select(Tenant.id).where(Tenant.id == tenant.id).with_for_update(key_share=True)
    db.session.execute(lock).all()


def _chosen_accounts(tenant: Tenant, live: bool, account_ids: Sequence[str] | None) -> list[ProviderAccount]:
    mine = {account.id: account for account in accounts.accounts_of(tenant, live)}
    if account_ids is None:
        if not mine:
            detail = T("There is no account to send the template to. Connect a provider first.")
            raise invalid("/accounts", "no_account", detail)
        return list(mine.values())
    findings = [
        Finding(f"/accounts/{index}", "account_not_found", T("There is no such account."))
        for index, account_id in enumerate(account_ids)
        if account_id not in mine
    ]
    if findings:
        raise Invalid(T("Some accounts do not exist."), findings=findings)
    return [mine[account_id] for account_id in dict.fromkeys(account_ids)]


def _keep(tenant: Tenant, text: TemplateText) -> tuple[Template, bool, bool]:
    """(version, changed, created)."""
    content = digest(text)
    newest = db.session.scalars(
        select(Template)
        .where(Template.name == text.name, Template.language == text.language)
        .order_by(Template.version.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    ).first()
    if newest is not None and newest.content_hash == content:
        return newest, False, False
    if newest is not None and newest.draft:
        _write(newest, text, content)
        return newest, True, False
    version = _free_version(text, newest.version + 1) if newest else _refuse_taken_name(text)
    template = Template(id=new_id("tpl"), tenant_id=tenant.id, name=text.name, language=text.language, version=version)
    _write(template, text, content)
    template.draft = True
    db.session.add(template)
    db.session.flush()
    return template, True, True


def _write(template: Template, text: TemplateText, content: str) -> None:
    template.type, template.category = text.type, text.category
    template.header, template.body, template.footer = text.header, text.body, text.footer
    template.buttons, template.examples = list(text.buttons), dict(text.examples)
    template.ttl_seconds, template.content_hash = text.ttl_seconds, content
    template.updated_at = clock.now()


def _free_version(text: TemplateText, version: int) -> int:
    """The next version whose name at the provider is not already another template's own name."""
    alike = Template.name.startswith(f"{text.name[:500]}_v", autoescape=True)
    taken = set(db.session.scalars(select(Template.name).where(alike)))
    while provider_name(text.name, version) in taken:
        version += 1
    return version


def _refuse_taken_name(text: TemplateText) -> int:
    """1, unless the provider knows this name as a version of another template."""
    base, _, number = text.name.rpartition("_v")
    if base and number.isdigit() and number == str(int(number)) and 2 <= int(number) <= RESERVED:
        used = db.session.scalar(
            select(Template.id).where(
                Template.language == text.language,
                Template.version == int(number),
                func.substr(Template.name, 1, 500) == base,  # as provider_name cuts it
            )
        )
        if used is not None:
            detail = T("%(name)s is how version %(number)s of %(base)s is called at the provider. Choose another name.",
                       name=text.name, number=number, base=base)  # fmt: skip
            raise invalid("/name", "name_taken", detail)
    return 1


def _request_approvals(template: Template, chosen: Sequence[ProviderAccount]) -> list[TemplateApproval]:
    """Approvals that begin now: at accounts that never had this version, or refused it before it existed there."""
    known = {row.account_id: row for row in approvals_of([template.id])[template.id]}
    begun = []
    for account in chosen:
        row = known.get(account.id)
        if row is not None and not (row.status == S.REJECTED and row.external_id is None):
            continue
        if row is None:
            row = TemplateApproval(
                id=new_id("tap"), tenant_id=template.tenant_id, template_id=template.id, account_id=account.id,
                status=S.SUBMITTING, status_at=clock.now(), parameter_map={},
            )  # fmt: skip
            db.session.add(row)
            db.session.flush()
        row.rejected_reason = None
        row.next_check_at = clock_of_database() - timedelta(seconds=1)
        move(row, S.SUBMITTING, "submit", clock.now())
        begun.append(row)
    template.draft = template.draft and not begun
    return begun


def install_starters(
    tenant: Tenant, languages: Sequence[str] = ("ro", "en"), *, submit: bool = True, live: bool = False
) -> list[Saved]:
    """The six texts to begin with in each language (``ro``, ``en``); names that exist already stay untouched."""
    return _install(tenant, [text for language in languages for text in starters(language)], submit, live)


def install_pack(
    tenant: Tenant, key: str, languages: Sequence[str] = ("ro", "en"), *, submit: bool = True, live: bool = False
) -> list[Saved]:
    """The texts of a pack (`domain.packs`) in each language; names that exist already stay untouched.

    Raises NotFound for a pack there is not, Invalid as `save` does.
    """
    if key not in PACKS:
        raise NotFound(T("There is no such pack of texts."))
    return _install(tenant, [text for language in languages for text in texts_of(key, language)], submit, live)


def _install(tenant: Tenant, texts: Sequence[TemplateText], submit: bool, live: bool) -> list[Saved]:
    with tenant_scope(tenant.id):
        known = {tuple(row) for row in db.session.execute(select(Template.name, Template.language))}
        new = [text for text in texts if (text.name, text.language) not in known]
        return [save(tenant, text, submit=submit, live=live) for text in new]


# --- reading ----------------------------------------------------------------------------------------------------


def find(template_id: str) -> Template:
    """One version by id. Raises NotFound."""
    template = db.session.scalar(select(Template).where(Template.id == template_id))
    if template is None:
        raise NotFound(T("There is no such template."))
    return template


def listed(
    *, name: str | None = None, kind: str | None = None, language: str | None = None, all_versions: bool = False
) -> list[Template]:
    """Templates by name, language and falling version; only the newest version of each unless ``all_versions``."""
    wanted = select(Template).order_by(Template.name, Template.language, Template.version.desc())
    for column, value in ((Template.name, name), (Template.type, kind), (Template.language, language)):
        if value is not None:
            wanted = wanted.where(column == value)
    rows = list(db.session.scalars(wanted))
    if all_versions:
        return rows
    newest: dict[tuple[str, str], Template] = {}
    for row in rows:
        newest.setdefault((row.name, row.language), row)
    return list(newest.values())


def approvals_of(template_ids: Sequence[str]) -> dict[str, list[TemplateApproval]]:
    """The approvals of each version, oldest account first."""
    found: dict[str, list[TemplateApproval]] = {template_id: [] for template_id in template_ids}
    wanted = select(TemplateApproval).where(TemplateApproval.template_id.in_(template_ids))
    ordered = wanted.order_by(TemplateApproval.created_at, TemplateApproval.id)
    for row in db.session.scalars(ordered, execution_options={"populate_existing": True}):
        found[row.template_id].append(row)
    return found


def text_of(template: Template) -> TemplateText:
    """The version as its author wrote it, for the lint and the preview."""
    return TemplateText(
        name=template.name,
        type=template.type,
        language=template.language,
        category=template.category,
        body=template.body,
        header=template.header,
        footer=template.footer,
        buttons=list(template.buttons),
        examples=dict(template.examples),
        ttl_seconds=template.ttl_seconds,
    )
