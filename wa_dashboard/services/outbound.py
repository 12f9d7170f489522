"""From rows to requests: everything a provider must know to send a message, put together before the attempt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select

from .. import logs
from ..bulk import rows_by_key
from ..db import db
from ..domain import rendering
from ..domain.media import MEDIA_PATH, format_of, split_link
from ..domain.statuses import SENDABLE
from ..models import Contact, Message, ProviderAccount, Template, TemplateApproval
from ..providers.base import CannotBuild, OutboundTemplate, Provider, WireRequest
from . import accounts, media

log = logs.get(__name__)


@dataclass(frozen=True)
class Composed:
    """A request that is ready, and whose consent it needs."""

    request: WireRequest
    contact_id: str
    purpose: str


class CannotSend(Exception):
    """Not as it is. ``hold``: it may become possible by itself (the template is not approved at this account now)."""

    def __init__(self, code: str, detail: str, *, hold: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.hold = hold


@dataclass(frozen=True)
class _Words:
    """What is the same for all messages of one template on one account."""

    template: Template
    approval: TemplateApproval | None
    name: str
    body: Sequence[str]
    header: Sequence[str]
    buttons: Sequence[tuple[int, str, str]]
    payloads: dict[int, str]
    needed: Sequence[str]
    format: str  # of a header that is a file or a place, else ""


@dataclass(frozen=True)
class _Letter:
    """One message as it was read. ``attempt_no``: of the attempt that would carry it."""

    message: Any
    phone_sealed: bytes | None
    attempt_no: int


@dataclass(frozen=True)
class Material:
    """What requests are made of."""

    letters: Sequence[_Letter]
    words: dict[str, _Words]
    files: Mapping[str, media.Ready] = field(default_factory=dict)

    def of(self, message_ids: Sequence[str]) -> "Material":
        """The part of these messages."""
        wanted = set(message_ids)
        return Material([letter for letter in self.letters if letter.message.id in wanted], self.words, self.files)


def gather(account: ProviderAccount, attempts: Mapping[str, int]) -> Material:
    """Read what the requests of these attempts need: their numbers by message id."""
    columns = ("id", "tenant_id", "purpose", "template_id", "variables_sealed", "contact_id",
               "media_source_id", "media_sealed")  # fmt: skip
    messages = rows_by_key(Message, columns, ("id",), [(message_id,) for message_id in attempts])
    persons = {message.contact_id for message in messages}
    phones = dict(rows_by_key(Contact, ("id", "phone_sealed"), ("id",), [(person,) for person in persons]))
    letters = [_Letter(each, phones[each.contact_id], attempts[each.id]) for each in messages]
    words = _words_of(account, {each.template_id for each in messages if each.template_id})
    sources = sorted({each.media_source_id for each in messages if each.media_source_id})
    return Material(letters, words, media.resolve(account.id, sources))


def compose(
    account: ProviderAccount, provider: Provider, material: Material
) -> tuple[dict[str, Composed], dict[str, CannotSend]]:
    """The request of each message's next attempt, and what cannot be sent, by message id. Touches no database."""
    callback = accounts.webhook_url(account)
    ready: dict[str, Composed] = {}
    broken: dict[str, CannotSend] = {}
    for letter in material.letters:
        message = letter.message
        try:
            words = material.words.get(message.template_id)
            outbound = _outbound(letter, words, callback)
            if words is not None and words.format:
                outbound = _with_file(outbound, letter, words, material.files, provider)
            ready[message.id] = Composed(provider.build_send(outbound), message.contact_id, message.purpose)
        except CannotSend as problem:
            broken[message.id] = problem
        except CannotBuild as problem:
            broken[message.id] = CannotSend("cannot_build", problem.reason)
        except Exception as error:
            log.exception("message_poisoned", message_id=message.id)
            broken[message.id] = CannotSend("internal_error", type(error).__name__)
    return ready, broken


def _words_of(account: ProviderAccount, template_ids: set[str]) -> dict[str, _Words]:
    here = (TemplateApproval.template_id == Template.id) & (TemplateApproval.account_id == account.id)
    wanted = select(Template, TemplateApproval).outerjoin(TemplateApproval, here).where(Template.id.in_(template_ids))
    return {
        template.id: _Words(
            template,
            approval,
            rendering.provider_name(template.name, template.version),
            rendering.body_variables(template),
            rendering.header_variables(template),
            rendering.button_variables(template),
            {
                index: str(button["payload"])
                for index, button in enumerate(template.buttons)
                if button.get("type") == "quick_reply" and button.get("payload")
            },
            list(rendering.all_variables(template)),
            format_of(template),
        )
        for template, approval in db.session.execute(wanted, execution_options={"populate_existing": True})
    }


def _outbound(letter: _Letter, words: _Words | None, callback: str) -> OutboundTemplate:
    if words is None:
        raise CannotSend("template_missing", "the template is gone")
    approval = words.approval
    if approval is None or approval.status not in SENDABLE:
        state = approval.status if approval else "not submitted"
        raise CannotSend("template_unavailable", f"the template is {state} at this account", hold=True)
    message = letter.message
    said = Message.variables.unseal(Message, message.tenant_id, message.id, message.variables_sealed) or {}
    values = {name: str(value) for name, value in said.items()}
    missing = [name for name in words.needed if not values.get(name)]
    if missing:
        raise CannotSend("variable_missing", f"no value for {', '.join(missing)}")
    return OutboundTemplate(
        correlation_id=f"{message.id}.{letter.attempt_no}",
        to=Contact.phone.unseal(Contact, message.tenant_id, message.contact_id, letter.phone_sealed),
        template_name=words.name,
        language=words.template.language,
        parameters=values,
        body_variables=words.body,
        header_variables=words.header,
        button_variables=words.buttons,
        button_payloads=words.payloads,
        parameter_map=approval.parameter_map,
        external_id=approval.external_id,
        status_callback_url=callback,
    )


def _with_file(
    outbound: OutboundTemplate, letter: _Letter, words: _Words, files: Mapping[str, media.Ready], provider: Provider
) -> OutboundTemplate:
    """The same with the file or place of its header. Raises CannotSend, with ``hold`` while the file is not there."""
    message = letter.message
    said = Message.media.unseal(Message, message.tenant_id, message.id, message.media_sealed)
    if not said or said["kind"] != words.format:
        raise CannotSend("media_missing", f"the template has a {words.format} in its header, the message has none")
    header = media.header_of(said, files.get(message.media_source_id), provider)
    if header is None:
        raise CannotSend(media.PENDING, "its file is not there yet", hold=True)
    if not header.link:
        return replace(outbound, header=header)
    base, path = split_link(header.link)
    if base != media.base_of(words.template):
        raise CannotSend("media_host", f"{provider.name} takes only files at {media.base_of(words.template)}")
    return replace(outbound, header=header, parameters={**outbound.parameters, MEDIA_PATH: path})
