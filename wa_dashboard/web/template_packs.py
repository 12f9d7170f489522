"""Ready-made texts for six kinds of events, to look at and to take over."""

from dataclasses import dataclass

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from ..domain import rendering
from ..domain.packs import PACKS, Pack, texts_of
from ..domain.rendering import Bubble, TemplateText
from ..domain.text import T
from ..errors import NotFound, WaError
from ..services import accounts
from ..services import templates as texts
from . import web
from .access import may, me, requires, say_next
from .language_names import language_name
from .messages import KINDS

LANGUAGES = ("ro", "en")


@dataclass(frozen=True)
class Ready:
    """A ready-made text; ``there`` is the id of the template that has its name and language already."""

    text: TemplateText
    bubble: Bubble
    there: str | None


@dataclass(frozen=True)
class Case:
    """A kind of event with its texts in one language."""

    pack: Pack
    texts: list[Ready]

    @property
    def new(self) -> int:
        return sum(each.there is None for each in self.texts)


@web.get("/templates/packs")
@requires("see")
def template_packs() -> str:
    """Six cards, each with a bubble and the list of its texts; those that exist already are marked."""
    language = request.args.get("language", "")
    language = language if language in LANGUAGES else _own_language()
    known = {(row.name, row.language): row.id for row in texts.listed()}
    cases = [Case(pack, [_ready(text, known) for text in texts_of(key, language)]) for key, pack in PACKS.items()]
    return render_template(
        "templates/packs.html",
        cases=cases,
        chosen=language,
        languages_there=LANGUAGES,
        language_name=language_name,
        kinds=KINDS,
        may_write=may("templates"),
        senders=len(accounts.accounts_of(me().tenant, me().tenant.live)),
    )


@web.post("/templates/packs/<key>")
@requires("templates")
def install_pack(key: str) -> AnyResponse:
    """Take over the texts of one kind of event, as drafts or sent for approval; what exists stays as it is."""
    if key not in PACKS:
        raise NotFound(T("There is nothing at this address."))
    wanted = request.form.get("language", "")
    languages = (wanted,) if wanted in LANGUAGES else LANGUAGES
    submit = request.form.get("do") == "send"
    back = redirect(url_for("web.template_packs", language=wanted or None, _anchor=key), code=303)
    try:
        made = texts.install_pack(me().tenant, key, languages, submit=submit, live=me().tenant.live)
    except WaError as problem:
        say_next(problem.findings[0].detail if problem.findings else problem.detail, "bad")
        return back
    if not made:
        say_next(T("All of these texts were there already."), "info")
        return back
    said = T("Added and sent for approval: %(count)s texts.", count=len(made)) if submit else T(
        "Added as drafts: %(count)s texts. Read them, change what you like, and send them for approval.",
        count=len(made))  # fmt: skip
    say_next(said)
    return redirect(url_for("web.templates"), code=303)


def _own_language() -> str:
    own = me().tenant.locale.partition("-")[0]
    return own if own in LANGUAGES else "en"


def _ready(text: TemplateText, known: dict[tuple[str, str], str]) -> Ready:
    return Ready(text, rendering.preview(text, text.examples), known.get((text.name, text.language)))
