"""The editor: a text is written beside its own bubble, checked while it is typed, and kept or sent for approval."""

from dataclasses import replace
from typing import Any

from flask import make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from ..domain import rendering
from ..domain.findings import LONGEST_BODY, LONGEST_FOOTER, LONGEST_HEADER
from ..domain.lint import CATEGORY_OF, LintFinding, wire_length
from ..domain.lint_buttons import MOST_BUTTONS
from ..domain.packs import LANGUAGES, PACKS, texts_of
from ..domain.rendering import TemplateText
from ..domain.statuses import TemplateStatus
from ..domain.text import T
from ..domain.variables import VARIABLES, Variable
from ..errors import Invalid, NotFound, WaError
from ..models import Template, TemplateApproval
from ..services import accounts, template_advice, template_copy
from ..services import templates as texts
from . import web
from .access import me, requires, say_next
from .htmx import wants_fragment
from .language_names import language_choices, language_name
from .messages import KINDS
from .template_form import BUTTON_KINDS, Typed, changed, field_of, mended_form, read, typed_of
from .template_matrix import CATEGORIES, rejections_of, sending_version

Answer = AnyResponse | str | tuple[str, int]

HEADERS: dict[str, T] = {
    "none": T("None"),
    "text": T("A line of text"),
    "image": T("Image"),
    "video": T("Video"),
    "document": T("Document, such as the ticket"),
    "location": T("Location"),
}
BUTTONS: dict[str, T] = {
    "quick_reply": T("Quick reply"),
    "url": T("Web address"),
    "phone": T("Phone call"),
    "copy_code": T("Copy a code"),
}
# What stands on the buttons; the catalogue's own words are sentences.
_LABELS: dict[str, T] = {
    "first_name": T("First name"),
    "order_id": T("Order number"),
    "event_name": T("Event"),
    "event_date": T("Date and time"),
    "venue_name": T("Place"),
    "discount_code": T("Discount code"),
    "order_token": T("End of the ticket link"),
    "doors_time": T("Doors open at"),
    "seat": T("Seat"),
    "parking": T("Parking"),
    "change": T("What changed"),
    "safety_info": T("Safety advice"),
}
_LEVELS = {"error": 0, "warning": 1, "hint": 2}


@web.get("/templates/new")
@requires("templates")
def new_template() -> Answer:
    """First how to begin; then the form, empty, with a ready-made text, or with a copy into another language."""
    asked = request.args
    if asked.get("copy"):
        try:
            copied = template_copy.copy_to(me().tenant, asked["copy"], asked.get("language", "en"))
        except Invalid as problem:
            say_next(problem.findings[0].detail, "warn")
            return redirect(url_for("web.new_template"), code=303)
        missing = [(field_of(each.pointer, typed_of(copied.text)), each.sentence) for each in copied.missing]
        return _page(typed_of(copied.text), missing=missing)
    if asked.get("pack") in PACKS:
        ready = texts_of(asked["pack"], asked["language"] if asked.get("language") in LANGUAGES else "en")
        found = next((text for text in ready if text.name == asked.get("text")), ready[0])
        return _page(typed_of(found))
    if asked.get("start") == "empty":
        return _page(Typed(language=asked.get("language") or me().tenant.locale.partition("-")[0]))
    newest = texts.listed()
    return render_template(
        "templates/choose.html",
        existing=newest,
        language_name=language_name,
        kinds=KINDS,
        choices=language_choices(),
        packs=PACKS,
    )


@web.post("/templates/new")
@requires("templates")
def add_template() -> Answer:
    """Keep a new text; a name that is taken is not written over."""
    typed = read(request.form)
    errors = _problems(typed) or _taken(typed)
    return _page(typed, errors=errors) if errors else _keep(typed, None)


@web.get("/templates/<template_id>/edit")
@requires("templates")
def edit_template(template_id: str) -> Answer:
    """The newest words of this text: a draft to go on with, else the beginning of the next version."""
    newest = _newest(template_id)
    if newest.id != template_id:
        return redirect(url_for("web.edit_template", template_id=newest.id), code=303)
    return _page(typed_of(texts.text_of(newest), newest.content_hash), template=newest)


@web.post("/templates/<template_id>/edit")
@requires("templates")
def change_template(template_id: str) -> Answer:
    """Keep what was typed as the draft, or as the next version of what was submitted."""
    newest = _newest(template_id)
    typed = replace(read(request.form), name=newest.name, language=newest.language, title="")
    errors = _problems(typed)
    if not errors and typed.base and typed.base != newest.content_hash:
        said = T("Somebody else changed this text while you wrote. Save again to put your words in place of theirs.")
        return _page(replace(typed, base=newest.content_hash), template=newest, errors={"": said})
    return _page(typed, template=newest, errors=errors) if errors else _keep(typed, newest)


@web.post("/templates/preview")
@requires("templates")
def preview_template() -> Answer:
    """The bubble and the checks of what is typed; the form with one of its own buttons pressed. Nothing is kept.

    htmx gets what it has a place for: the bubble with the checks, the samples, or the form. Without a script the
    whole page comes back. (The place and not the address tells them apart: htmx takes the address of the button that
    was pressed last.)
    """
    form = request.form
    template = texts.find(form["id"]) if form.get("id") else None
    typed = read(form)
    if template is not None:
        typed = replace(typed, name=template.name, language=template.language)
    part = request.headers.get("HX-Target", "editor")
    act = form.get("do", "") if part == "editor" else ""  # htmx repeats the last pressed button with what follows
    done = _mended(typed, act) if act.startswith("mend:") else changed(typed, act)
    if not wants_fragment():
        return _page(done, template=template)
    if part == "samples":
        return render_template("templates/samples.html", **_context(done, template))
    if part != "bubble":
        return render_template("templates/form.html", **_context(done, template) | {"act": act})
    answer = make_response(render_template("templates/check.html", **_context(done, template)))
    if list(typed.shown) != typed.variables:
        answer.headers["HX-Trigger"] = '{"variables": true}'
    return answer


@web.get("/templates/<template_id>/send")
@requires("templates")
def before_sending(template_id: str) -> Answer:
    """Which senders would get the text, and what that means."""
    template = texts.find(template_id)
    known = {row.account_id: row for row in texts.approvals_of([template.id])[template.id]}
    senders = accounts.accounts_of(me().tenant, me().tenant.live)
    findings = _findings(texts.text_of(template))
    return render_template(
        "templates/send.html",
        template=template,
        senders=[(account, known.get(account.id)) for account in senders],
        goes=sum(_would_go(known.get(account.id)) for account in senders),
        findings=[finding for finding in findings if finding.level == "error"],
        language_name=language_name,
        sending=sending_version(template),
        live=me().tenant.live,
    )


def _would_go(row: TemplateApproval | None) -> bool:
    """Does sending for approval do something at a sender that knows the text like this?"""
    return row is None or (row.status == TemplateStatus.REJECTED and row.external_id is None)


def _keep(typed: Typed, template: Template | None) -> Answer:
    """Save; on to the template, or to the question whether to send it. What is refused is said at its field."""
    act = request.form.get("do", "save")
    text = typed.as_text()
    try:
        saved = texts.save(me().tenant, text, submit=False, live=me().tenant.live, actor=me().actor)
    except WaError as problem:
        return _page(typed, template=template, errors=_refused(problem, typed))
    if act == "send":
        return redirect(url_for("web.before_sending", template_id=saved.template.id), code=303)
    say_next(T("Saved as a draft.") if saved.template.draft else T("Nothing was changed."),
             "good" if saved.changed else "info")  # fmt: skip
    return redirect(url_for("web.template", template_id=saved.template.id), code=303)


def _problems(typed: Typed) -> dict[str, Any]:
    """What stands in the way; when it is to be sent, all that WhatsApp would refuse as well, so as to say it once."""
    found: dict[str, Any] = dict(typed.problems())
    if request.form.get("do") != "send":
        return found
    return found | {
        name: said for name, said in _errors_of(_findings(typed.as_text()), typed).items() if name not in found
    }


def _mended(typed: Typed, act: str) -> Typed:
    """``mend:3:T017``: the fourth finding as the page showed it, if it is still the one of that rule."""
    _, index, rule = (*act.split(":"), "", "")[:3]
    found = _findings(typed.as_text())
    at = int(index) if index.isdigit() else len(found)
    return mended_form(typed, found[at]) if at < len(found) and found[at].rule == rule else typed


def _findings(text: TemplateText) -> list[LintFinding]:
    """What there is to mend, the worst first, also what is only seen beside the other texts."""
    found = texts.check(me().tenant, text, live=me().tenant.live)
    return sorted(found, key=lambda finding: _LEVELS[finding.level])


def _errors_of(findings: list[LintFinding], typed: Typed) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for finding in findings:
        if finding.level == "error":
            found.setdefault(field_of(finding.pointer, typed), finding.message)
    return found


def _refused(problem: WaError, typed: Typed) -> dict[str, Any]:
    if not isinstance(problem, Invalid) or not problem.findings:
        return {"": problem.detail}
    return {field_of(finding.pointer, typed): finding.detail for finding in reversed(problem.findings)}


def _taken(typed: Typed) -> dict[str, Any]:
    """A new text must not silently become the next version of another, nor of another type than its languages."""
    same = texts.listed(name=typed.slug)
    where = "name" if typed.name.strip() else "title"
    if any(row.language == typed.language for row in same):
        return {where: T("There is a text called %(name)s in this language already. Edit that one, or choose another "
                         "name.", name=typed.slug[:60])}  # fmt: skip
    if any(row.type != typed.type for row in same):
        return {where: T("%(name)s is the name of a text of another type.", name=typed.slug[:60])}
    return {}


def _newest(template_id: str) -> Template:
    """The newest version of the text that this version is of. Raises NotFound."""
    found = texts.find(template_id)
    rows = texts.listed(name=found.name, language=found.language)
    if not rows:
        raise NotFound(T("There is no such template."))
    return rows[0]


# --- the page ---------------------------------------------------------------------------------------------------


def _page(
    typed: Typed,
    *,
    template: Template | None = None,
    errors: dict[str, Any] | None = None,
    missing: list[tuple[str, T]] | None = None,
) -> Any:
    """The whole page; 422 with errors."""
    context = _context(typed, template)
    page = render_template(
        "templates/edit.html",
        **context | {"errors": errors or {}, "missing": missing or []},
        rejections=rejections_of(template) if template else [],
        sending=sending_version(template) if template else None,
    )
    return (page, 422) if errors else page


def _context(typed: Typed, template: Template | None) -> dict[str, Any]:
    """All that the form, the bubble and the checks show of what is typed."""
    text = typed.as_text()
    findings = _findings(text)
    return {
        "typed": typed,
        "text": text,
        "template": template,
        "action": url_for("web.change_template", template_id=template.id) if template else url_for("web.add_template"),
        "bubble": rendering.preview(text, text.examples),
        "findings": [(finding, _field(finding, typed, template)) for finding in findings],
        "counted": {level: sum(each.level == level for each in findings) for level in _LEVELS},
        "counts": _counts(typed, text),
        "advice": template_advice.advise(me().tenant, text),
        "catalogue": [(each, _label(each)) for each in VARIABLES.values() if each.source != "product"],
        "blank": typed.blank,
        "samples": [(name, typed.sample(name)) for name in typed.variables],
        "kept": {name: value for name, value in typed.samples.items() if value and name not in typed.variables},
        "languages_of": language_choices(),
        "language_name": language_name,
        "kinds": KINDS,
        "categories": CATEGORIES,
        "category_of": CATEGORY_OF,
        "headers": HEADERS,
        "button_kinds": [(kind, BUTTONS[kind]) for kind in BUTTON_KINDS],
        "most_buttons": MOST_BUTTONS,
        "senders": len(accounts.accounts_of(me().tenant, me().tenant.live)),
        "errors": {},
        "missing": [],
        "act": "",
    }


def _field(finding: LintFinding, typed: Typed, template: Template | None) -> str | None:
    """Where the finding is mended; None where the form has no field for it, as the name of what exists."""
    found = field_of(finding.pointer, typed)
    return None if template is not None and found in ("title", "name", "language") else found


def _label(variable: Variable) -> T:
    return _LABELS.get(variable.name, variable.meaning)


def _counts(typed: Typed, text: TemplateText) -> list[tuple[T, int, int]]:
    """What is counted, how many characters, how many there may be; WhatsApp's variables have two more braces."""
    if typed.type == "otp":
        return []
    found = [(T("Text"), wire_length(text.body), LONGEST_BODY)]
    if typed.header == "text":
        found.insert(0, (T("Header"), wire_length(typed.header_text), LONGEST_HEADER))
    if typed.footer:
        found.append((T("Footer"), len(typed.footer.strip()), LONGEST_FOOTER))
    return found
