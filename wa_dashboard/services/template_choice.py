"""Which template a message uses: the newest approved version in the best language (api.md §5.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from ..db import db
from ..domain.packs import NOTICES
from ..domain.statuses import SENDABLE, TemplateStatus
from ..domain.text import T
from ..errors import Invalid
from ..models import ProviderAccount, Template, TemplateApproval, Tenant
from ..prepared import copy_of
from ..providers.wire import language_code
from ..remembered import Remembered
from . import accounts

S = TemplateStatus

_STATUS: dict[str, T] = {
    S.SUBMITTING: T("is being sent for approval"),
    S.SUBMIT_UNKNOWN: T("was sent for approval, but the provider has not confirmed it yet"),
    S.PENDING: T("is waiting for approval"),
    S.REJECTED: T("was rejected"),
    S.PAUSED: T("was paused by WhatsApp"),
    S.DISABLED: T("was disabled by WhatsApp"),
    S.IN_APPEAL: T("is being appealed"),
    S.DELETED: T("was deleted at the provider"),
}


@dataclass(frozen=True)
class Choice:
    """The version to send, its approval on the account to send from, and the reasons, in sentences.

    Both are copies, to be read only.
    """

    template: Template
    approval: TemplateApproval
    why: list[T]


@dataclass(frozen=True)
class _Wish:
    """A language to try and whose it is."""

    code: str
    whose: T


def language_chain(recipient: str | None, event: str | None, tenant: str) -> list[tuple[str, T]]:
    """Languages to try, best first, each with whose it is. ``ro-RO`` is followed by ``ro``."""
    chain: dict[str, T] = {}
    wishes = ((recipient, T("the recipient's language")), (event, T("the event's language")),
              (tenant, T("your organisation's language")))  # fmt: skip
    for locale, whose in wishes:
        if locale:
            code = language_code(locale) or locale
            chain.setdefault(code, whose)
            chain.setdefault(code.partition("_")[0].lower(), whose)
    return list(chain.items())


def choose(
    tenant: Tenant,
    type: str,  # noqa: A002 - the API's own word
    live: bool,
    account_ids: Sequence[str] | None = None,
    name: str | None = None,
    languages: Sequence[str] | Sequence[tuple[str, T]] = (),
) -> Choice:
    """The newest version approved on the first fitting account, in the first language that has one.

    ``languages`` as codes, or as `language_chain` gives them; a code may be met by a regional one (``en`` by
    ``en_US``) when nothing else is. ``account_ids``: best first; None takes every account of the mode.
    In the tenant's scope. What an approval became in this process counts at once, what it became in another after
    `REMEMBERED_S`. Raises Invalid ``template_not_sendable`` saying what there is and what to do.
    """
    if account_ids is None:
        account_ids = [account.id for account in accounts.accounts_of(tenant, live)]
    wanted = _Wanted(type, tuple(account_ids), name, tuple(languages))
    return _choices.get((tenant.id, wanted), lambda: _choose(wanted))


@dataclass(frozen=True)
class _Wanted:
    """What a choice depends on, beside the tenant's templates."""

    type: str
    account_ids: tuple[str, ...]
    name: str | None
    languages: tuple[str | tuple[str, T], ...]


REMEMBERED_S = 2.0
_choices: Remembered[Choice] = Remembered("choices", REMEMBERED_S, Template, TemplateApproval)


def _choose(wanted: _Wanted) -> Choice:
    type, account_ids, name, languages = wanted.type, wanted.account_ids, wanted.name, wanted.languages  # noqa: A001
    rows = _candidates(type, name, account_ids)
    wishes = [
        _Wish(*item) if isinstance(item, tuple) else _Wish(item, T("the language you asked for")) for item in languages
    ]
    name = name or _default_name(type, rows)
    sendable = [(t, a) for t, a in rows if t.name == name and a is not None and a.status in SENDABLE]
    for wish in wishes:
        for account_id in account_ids:
            found = _newest(sendable, account_id, wish.code)
            if found is not None:
                template, approval = found
                return Choice(copy_of(template), copy_of(approval), _reasons(template, wish, wishes))
    raise _not_sendable(type, name, wishes, [(t, a) for t, a in rows if name in (None, t.name)])


_Pair = tuple[Template, TemplateApproval | None]


def _candidates(kind: str, name: str | None, account_ids: Sequence[str]) -> list[_Pair]:
    """Versions of the type (and name), each with its approval on each of the accounts, newest first."""
    on_ours = (TemplateApproval.template_id == Template.id) & TemplateApproval.account_id.in_(account_ids)
    wanted = select(Template, TemplateApproval).outerjoin(TemplateApproval, on_ours).where(Template.type == kind)
    if name is not None:
        wanted = wanted.where(Template.name == name)
    rows = db.session.execute(wanted.order_by(Template.version.desc(), Template.created_at.desc()))
    return [(template, approval) for template, approval in rows]


def _default_name(kind: str, rows: Sequence[_Pair]) -> str | None:
    """The tenant's own choice for a type: the template called like it, else the sendable one that is newest.

    Never one that says something went wrong: such a text is sent only when it is asked for by name.
    """
    usual = [(t, a) for t, a in rows if t.name not in NOTICES]
    sendable = [t for t, a in usual if a is not None and a.status in SENDABLE]
    for templates in (sendable, [t for t, _ in usual]):
        if any(template.name == kind for template in templates):
            return kind
        if templates:
            return max(templates, key=lambda template: template.created_at).name
    return None


def _newest(
    sendable: Sequence[tuple[Template, TemplateApproval]], account_id: str, code: str
) -> tuple[Template, TemplateApproval] | None:
    mine = [pair for pair in sendable if pair[1].account_id == account_id]
    exact = [pair for pair in mine if pair[0].language == code]
    regional = [] if "_" in code else [pair for pair in mine if pair[0].language.startswith(f"{code}_")]
    return next(iter(exact or regional), None)


def _reasons(template: Template, wish: _Wish, wishes: Sequence[_Wish]) -> list[T]:
    why = [T("%(language)s is %(whose)s.", language=wish.code, whose=wish.whose)]
    skipped = [other.code for other in wishes[: wishes.index(wish)]]
    if skipped:
        why.append(T("No approved template in: %(languages)s.", languages=", ".join(skipped)))
    if template.language != wish.code:
        why.append(T("%(regional)s stands in for %(language)s.", regional=template.language, language=wish.code))
    return why


def _not_sendable(kind: str, name: str | None, wishes: Sequence[_Wish], rows: Sequence[_Pair]) -> Invalid:
    asked = ", ".join(wish.code for wish in wishes)
    if not rows:
        wanted = name or kind
        detail = T("There is no template %(name)s yet. Create one with POST /api/wa/templates.", name=wanted)
    elif not any(_speaks(template, wishes) for template, _ in rows):
        have = ", ".join(sorted({template.language for template, _ in rows}))
        detail = T("The template %(name)s exists in %(have)s, but not in %(asked)s. Add that language.",
                   name=rows[0][0].name, have=have, asked=asked)  # fmt: skip
    else:
        pair = next(pair for pair in rows if _speaks(pair[0], wishes))
        detail = _state(*pair)
    return Invalid(detail, "template_not_sendable", extra={"candidates": _lines(rows)})


def _speaks(template: Template, wishes: Sequence[_Wish]) -> bool:
    return any(template.language == w.code or template.language.startswith(f"{w.code}_") for w in wishes)


def _state(template: Template, approval: TemplateApproval | None) -> T:
    label = {"name": template.name, "language": template.language}
    if approval is None:
        sentence = T("The template %(name)s (%(language)s) is a draft. Send it for approval first.", **label)
    elif approval.rejected_reason:
        said = _STATUS.get(approval.status, T("cannot be sent now"))
        sentence = T("The template %(name)s (%(language)s) %(said)s: %(reason)s",
                     **label, said=said, reason=approval.rejected_reason)  # fmt: skip
    else:
        said = _STATUS.get(approval.status, T("cannot be sent now"))
        sentence = T(
            "The template %(name)s (%(language)s) %(said)s. Send again when it is approved.", **label, said=said
        )
    return sentence


def _lines(rows: Sequence[_Pair]) -> list[dict[str, object]]:
    used = {a.account_id for _, a in rows if a is not None}
    wanted = select(ProviderAccount.id, ProviderAccount.provider).where(ProviderAccount.id.in_(used))
    providers = {row.id: row.provider for row in db.session.execute(wanted)}
    return [
        {
            "name": template.name,
            "language": template.language,
            "version": template.version,
            "account": approval.account_id if approval else None,
            "provider": providers.get(approval.account_id) if approval else None,
            "status": approval.status if approval else S.DRAFT,
        }
        for template, approval in rows[:20]
    ]
