"""From rows to requests: everything a provider must know to send a message, put together before the attempt."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from .. import logs
from ..db import db, end_read
from ..domain import rendering
from ..domain.statuses import SENDABLE
from ..models import Contact, Message, Outbox, ProviderAccount, Template, TemplateApproval
from ..providers.base import CannotBuild, OutboundTemplate, Provider, WireRequest
from . import accounts

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


def compose(
    account: ProviderAccount, provider: Provider, message_ids: Sequence[str]
) -> tuple[dict[str, Composed], dict[str, CannotSend]]:
    """The request of each message's next attempt, and what cannot be sent, by message id. Reads only."""
    wanted = (
        select(Message, Contact, Template, TemplateApproval, Outbox.attempt_no)
        .join(Outbox, Outbox.message_id == Message.id)
        .join(Contact, Contact.id == Message.contact_id)
        .outerjoin(Template, Template.id == Message.template_id)
        .outerjoin(
            TemplateApproval,
            (TemplateApproval.template_id == Message.template_id) & (TemplateApproval.account_id == account.id),
        )
        .where(Message.id.in_(message_ids))
    )
    rows = db.session.execute(wanted, execution_options={"populate_existing": True}).all()
    callback = accounts.webhook_url(account)
    ready: dict[str, Composed] = {}
    broken: dict[str, CannotSend] = {}
    for message, contact, template, approval, attempt_no in rows:
        try:
            outbound = _outbound(message, contact, template, approval, attempt_no + 1, callback)
            ready[message.id] = Composed(provider.build_send(outbound), contact.id, message.purpose)
        except CannotSend as problem:
            broken[message.id] = problem
        except CannotBuild as problem:
            broken[message.id] = CannotSend("cannot_build", problem.reason)
        except Exception as error:
            log.exception("message_poisoned", message_id=message.id)
            broken[message.id] = CannotSend("internal_error", type(error).__name__)
    end_read()
    return ready, broken


def _outbound(
    message: Message,
    contact: Contact,
    template: Template | None,
    approval: TemplateApproval | None,
    attempt_no: int,
    callback: str,
) -> OutboundTemplate:
    if template is None:
        raise CannotSend("template_missing", "the template is gone")
    if approval is None or approval.status not in SENDABLE:
        state = approval.status if approval else "not submitted"
        raise CannotSend("template_unavailable", f"the template is {state} at this account", hold=True)
    values = {name: str(value) for name, value in (message.variables or {}).items()}
    missing = rendering.missing_values(template, values)
    if missing:
        raise CannotSend("variable_missing", f"no value for {', '.join(missing)}")
    return OutboundTemplate(
        correlation_id=f"{message.id}.{attempt_no}",
        to=contact.phone,
        template_name=rendering.provider_name(template.name, template.version),
        language=template.language,
        parameters=values,
        body_variables=rendering.body_variables(template),
        header_variables=rendering.header_variables(template),
        button_variables=rendering.button_variables(template),
        button_payloads={
            index: str(button["payload"])
            for index, button in enumerate(template.buttons)
            if button.get("type") == "quick_reply" and button.get("payload")
        },
        parameter_map=approval.parameter_map,
        external_id=approval.external_id,
        status_callback_url=callback,
    )
