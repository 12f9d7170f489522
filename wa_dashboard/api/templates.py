"""`/api/wa/templates`: message templates, in versions, with their approvals (api.md §5.1)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from flask import Blueprint, Response, jsonify, request
from pydantic import Field
from sqlalchemy import select

from .. import clock, i18n
from ..db import db
from ..domain.lint import CATEGORY_OF, LintFinding, has_errors
from ..domain.rendering import TemplateText, all_variables
from ..domain.statuses import SENDABLE
from ..domain.text import T
from ..domain.variables import VARIABLES
from ..errors import BadRequest, Finding
from ..models import ProviderAccount, Template, TemplateApproval
from ..services import media, template_advice, templates
from . import parsing
from .access import caller, requires
from .idempotency import idempotent
from .parsing import ApiModel
from .problems import language
from .writing import amount

blueprint = Blueprint("templates", __name__)

Kind = Literal["order_confirm", "reminder", "promo", "otp"]
Category = Literal["utility", "marketing", "authentication"]
FILTERS = ("name", "type", "language", "versions")

Short = Annotated[str, Field(max_length=500)]
Long = Annotated[str, Field(max_length=10_000)]


class HeaderInput(ApiModel):
    """``text`` for a text header; ``example`` for a file: a ``link``, an upload's ``handle``, or a ``media_id``;
    ``link``: the file that is the same in every message."""

    format: Literal["text", "image", "video", "document", "location"]
    text: Short | None = None
    example: dict[Short, Annotated[str, Field(max_length=2000)]] | None = None
    link: Annotated[str, Field(max_length=2048)] | None = None


class ButtonInput(ApiModel):
    """One button; ``otp`` is the copy button of a message with a code."""

    type: Literal["url", "quick_reply", "phone", "copy_code", "otp"]
    text: Short | None = None
    url: Annotated[str, Field(max_length=4000)] | None = None
    phone: Short | None = None
    payload: Annotated[str, Field(max_length=256)] | None = None
    example: Short | None = None
    code_expiration_minutes: Annotated[int, Field(ge=1, le=90)] | None = None
    add_security_recommendation: Literal[True] | None = None


class TemplateInput(ApiModel):
    """``category`` follows from the type when left out. ``allow_category_change`` is taken for the sake of old
    clients: Meta has ignored it since April 2025."""

    name: Annotated[str, Field(min_length=1, max_length=1000)]
    type: Kind
    language: Annotated[str, Field(min_length=1, max_length=100)]
    category: Category | None = None
    header: HeaderInput | None = None
    body: Long = ""
    footer: Annotated[str, Field(max_length=1000)] | None = None
    buttons: Annotated[list[ButtonInput], Field(max_length=50)] = []
    examples: dict[Short, Annotated[str, Field(max_length=5000)]] = {}
    ttl_seconds: int | None = None
    accounts: Annotated[list[Short], Field(max_length=50)] | None = None
    submit: bool = False
    allow_category_change: bool = False

    def as_text(self) -> TemplateText:
        return TemplateText(
            name=self.name,
            type=self.type,
            language=self.language,
            category=self.category or CATEGORY_OF[self.type],
            body=self.body,
            header=self.header.model_dump(exclude_none=True) if self.header else None,
            footer=self.footer,
            buttons=[button.model_dump(exclude_none=True) for button in self.buttons],
            examples=dict(self.examples),
            ttl_seconds=self.ttl_seconds,
        )


@blueprint.post("/templates")
@idempotent
@requires("templates:write")
def save() -> tuple[Response, int]:
    """201 for a new version; 200 when nothing changed or a draft was edited; 422 ``lint_failed`` stores nothing."""
    wanted = parsing.parse(TemplateInput, parsing.body())
    _check_links(wanted.header)
    saved = templates.save(
        caller().tenant,
        wanted.as_text(),
        submit=wanted.submit,
        live=caller().live,
        account_ids=wanted.accounts,
        actor=f"key:{caller().key_id}",
    )
    answer = _line(saved.template, saved.approvals, _accounts(), saved.findings) | {"changed": saved.changed}
    return jsonify(answer), 201 if saved.created else 200


@blueprint.post("/templates/lint")
@requires("templates:write")
def check() -> Response:
    """What `save` would say of the same body, always 200 when it can be read; stores nothing."""
    text = parsing.parse(TemplateInput, parsing.body()).as_text()
    findings = templates.check(caller().tenant, text, live=caller().live)
    return jsonify(lint=lint_of(findings), category_advice=_advice(text), variables=_variables(text))


def _check_links(header: HeaderInput | None) -> None:
    """The addresses of files, before anything is stored: nobody opens what is not public."""
    if header is not None and header.link is not None:
        media.check_link(header.link, "/header/link")
    sample = (header.example or {}).get("link") if header is not None else None
    if sample is not None:
        media.check_link(sample, "/header/example/link")


@blueprint.get("/templates")
@requires("templates:write")
def index() -> Response:
    """The newest version of each name and language (``versions=all``: every version), with approvals."""
    found = templates.listed(
        name=_filter("name"),
        kind=_filter("type"),
        language=_filter("language"),
        all_versions=_filter("versions") == "all",
    )
    approvals = templates.approvals_of([template.id for template in found])
    known, beside = _accounts(), templates.neighbours(live=caller().live)
    data = [_line(template, approvals[template.id], known, _findings(template, beside)) for template in found]
    page = {"next": None, "prev": None, "limit": max(len(data), 1)}
    return jsonify(data=data, page=page, as_of=_instant(clock.now()))


@blueprint.get("/templates/<template_id>")
@requires("templates:write")
def show(template_id: str) -> Response:
    """One version with its text and its story."""
    template = templates.find(template_id)
    known = _accounts()
    story = [
        {
            "at": _instant(event.at),
            "account": account_id,
            "status": event.status,
            "source": event.source,
            "detail": event.detail,
        }
        for event, account_id in templates.story_of(template.id)
        if account_id in known
    ]
    findings = _findings(template, templates.neighbours(live=caller().live))
    line = _line(template, templates.approvals_of([template.id])[template.id], known, findings)
    return jsonify(line | {"events": story})


# --- what is shown ----------------------------------------------------------------------------------------------


def _filter(name: str) -> str | None:
    unknown = [key for key in request.args if key not in FILTERS]
    if unknown:
        detail = T(
            "There is no filter %(name)s here. Known: %(known)s.", name=unknown[0][:60], known=", ".join(FILTERS)
        )
        raise BadRequest(detail, "bad_filter", findings=[Finding(f"/{unknown[0][:60]}", "unknown_filter", detail)])
    return request.args.get(name)


def _accounts() -> dict[str, ProviderAccount]:
    """The accounts the key may know of: those of its mode."""
    wanted = select(ProviderAccount).where(ProviderAccount.live == caller().live)
    return {account.id: account for account in db.session.scalars(wanted)}


def _findings(template: Template, beside: templates.Neighbours) -> list[LintFinding]:
    return templates.check(caller().tenant, templates.text_of(template), live=caller().live, beside=beside)


def _line(
    template: Template,
    approvals: Sequence[TemplateApproval],
    known: Mapping[str, ProviderAccount],
    findings: list[LintFinding],
) -> dict[str, Any]:
    text = templates.text_of(template)
    mine = [row for row in approvals if row.account_id in known]
    return {
        "id": template.id,
        "name": template.name,
        "language": template.language,
        "version": template.version,
        "type": template.type,
        "category": template.category,
        "draft": template.draft,
        "header": template.header,
        "body": template.body,
        "footer": template.footer,
        "buttons": template.buttons,
        "examples": template.examples,
        "ttl_seconds": template.ttl_seconds,
        "lint": lint_of(findings),
        "category_advice": _advice(text),
        "variables": _variables(text),
        "approvals": [_approval(row, known[row.account_id]) for row in mine],
        "sendable": any(row.status in SENDABLE for row in mine),
        "created_at": _instant(template.created_at),
        "updated_at": _instant(template.updated_at),
        "links": {"self": f"/api/wa/templates/{template.id}"},
    }


def lint_of(findings: list[LintFinding]) -> dict[str, Any]:
    """What the lint says of a template, in the caller's language."""
    return {"ok": not has_errors(findings), "findings": [_finding(finding) for finding in findings]}


def _approval(row: TemplateApproval, account: ProviderAccount) -> dict[str, Any]:
    keys = row.parameter_map.values()
    return {
        "account": account.id,
        "provider": account.provider,
        "status": row.status,
        "status_at": _instant(row.status_at),
        "external_id": row.external_id,
        "external_format": ("positional" if all(map(str.isdigit, keys)) else "named") if keys else None,
        "category": row.category,
        "rejected_reason": row.rejected_reason,
        "quality": row.quality,
        "previous_category": row.previous_category,
        "announced_category": row.announced_category,
        "announced_at": _instant(row.announced_at) if row.announced_at else None,
    }


def _finding(finding: LintFinding) -> dict[str, Any]:
    to = language()
    return {
        "rule": finding.rule,
        "level": finding.level,
        "pointer": finding.pointer,
        "message": i18n.translate(finding.message, to),
        "fix": i18n.translate(finding.fix, to),
        "mend": {"pointer": finding.mend[0], "value": finding.mend[1]} if finding.mend else None,
    }


def _variables(text: TemplateText) -> list[dict[str, Any]]:
    """Each variable, where it stands and who fills it; ``default`` is what stands there when nobody does: nothing,
    the message is refused."""
    return [
        {
            "name": name,
            "where": where,
            "type": VARIABLES[name].kind if name in VARIABLES else "text",
            "filled_from": VARIABLES[name].source if name in VARIABLES else "caller",
            "default": None,
        }
        for name, where in all_variables(text).items()
    ]


def _advice(text: TemplateText) -> dict[str, Any]:
    advice = template_advice.advise(caller().tenant, text)
    difference = advice.difference_micros
    return {
        "predicted": advice.predicted,
        "confidence": advice.confidence,
        "signals": [i18n.translate(signal, language()) for signal in advice.signals],
        "message": i18n.translate(advice.sentence, language()),
        "cost_difference": {
            "amount": amount(difference),
            "currency": advice.currency,
            "market": advice.market,
            "per": "message",
        }
        if difference is not None
        else None,
    }


def _instant(moment: Any) -> str:
    return str(moment.isoformat().replace("+00:00", "Z"))
