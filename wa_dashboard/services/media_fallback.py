"""Words instead of a file: what becomes of a message whose file cannot be had and that may go without it.

WhatsApp sends no template without its header, so "without" means another template: the text-only twin.
"""

from sqlalchemy import select, update

from ..bulk import among
from ..db import db, db_now
from ..domain.media import format_of
from ..domain.rendering import missing_values
from ..domain.statuses import SENDABLE
from ..models import Message, Outbox, Template, TemplateApproval
from . import lifecycle

SUFFIX = "_text"
_QUIET = {"synchronize_session": False}


def twin_of(template: Template, account_id: str, values: dict[str, str]) -> Template | None:
    """The template that says the same without a file: of the same type and language, approved at the account, and with
    a value for each of its variables. One called like it with ``_text`` at the end comes first, then the newest."""
    rows = db.session.scalars(
        select(Template)
        .join(TemplateApproval, TemplateApproval.template_id == Template.id)
        .where(
            Template.type == template.type,
            Template.language == template.language,
            TemplateApproval.account_id == account_id,
            TemplateApproval.status.in_(SENDABLE),
        )
        .order_by(Template.version.desc(), Template.created_at.desc())
    ).all()
    fit = [row for row in rows if not format_of(row) and not missing_values(row, values)]
    named = [row for row in fit if row.name == template.name + SUFFIX]
    return next(iter(named or fit), None)


def go_without(message_id: str, account_id: str) -> bool:
    """Let a message that waits for its file go with words alone, if its sender allowed that and there is a twin.

    In a transaction that holds its outbox row. False: it cannot go.
    """
    message = db.session.scalars(
        select(Message).where(Message.id == message_id).with_for_update(),
        execution_options={"populate_existing": True},
    ).one()
    if not (message.media or {}).get("optional") or message.template_id is None:
        return False
    template = db.session.scalars(select(Template).where(Template.id == message.template_id)).one()
    twin = twin_of(template, account_id, message.variables or {})
    if twin is None:
        return False
    values = {"template_id": twin.id, "template_name": twin.name, "media_source_id": None, "media_sealed": None}
    lifecycle.annotate([message_id], reason=None, reason_detail={}, next_at=None, **values)
    db.session.execute(
        update(Outbox)
        .where(among(Outbox.message_id, [message_id]))
        .values(template_id=twin.id, next_at=db_now()),
        execution_options=_QUIET,
    )
    lifecycle.tell(message.tenant_id, [message_id], "without_media", detail={"template": twin.name})
    return True
