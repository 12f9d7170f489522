"""What left after the backup was made, as the providers tell it that can be asked (Twilio)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select

from .. import clock, logs
from ..bulk import among
from ..db import db, end_read, transaction
from ..domain import rendering
from ..domain.statuses import Rank
from ..models import Attempt, Contact, Message, Outbox, ProviderAccount, Template
from ..providers.base import ProviderError, SentRecord, StatusItem, all_providers
from . import accounts, lifecycle

log = logs.get(__name__)

_SKEW = timedelta(seconds=60)  # the provider's clock, in whole seconds, against ours
_AFRESH = {"populate_existing": True}


@dataclass
class Told:
    """What the providers say of messages, by id: ``sent`` and how, certainly ``unsent``, or ``silent``: asked, but no
    answer came. All others cannot be asked about."""

    sent: dict[str, tuple[ProviderAccount, SentRecord]] = field(default_factory=dict)
    unsent: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Asked:
    message_id: str
    account_id: str
    contact_id: str
    text: str


def ask(message_ids: Sequence[str], since: datetime | None) -> Told:
    """Ask about these held messages of the tenant in scope; ``since``: when the backup was made. In no transaction."""
    told = Told()
    senders = _senders()
    by_person: dict[tuple[str, str], list[_Asked]] = defaultdict(list)
    for each in _asked_about(message_ids, list(senders)):
        by_person[each.account_id, each.contact_id].append(each)
    for (account_id, contact_id), messages in by_person.items():
        account = senders[account_id]
        phone = db.session.scalars(select(Contact).where(Contact.id == contact_id)).one().phone
        end_read()
        try:
            begun = since or clock.now() - timedelta(days=30)
            records = accounts.provider_of(account).find_sent(phone, begun - _SKEW)
        except ProviderError as problem:
            log.warning("reconciling_failed", account_id=account_id, kind=problem.outcome.kind)
            told.silent |= {each.message_id for each in messages}
            continue
        _match(told, account, messages, _strangers(account_id, records))
    return told


def _senders() -> dict[str, ProviderAccount]:
    able = [name for name, kind in all_providers().items() if kind.can_look_up]
    rows = db.session.scalars(select(ProviderAccount).where(ProviderAccount.provider.in_(able)))
    return {account.id: account for account in rows}


def _asked_about(message_ids: Sequence[str], account_ids: Sequence[str]) -> list[_Asked]:
    rows = db.session.execute(
        select(Message, Template, Outbox.account_id)
        .join(Outbox, Outbox.message_id == Message.id)
        .outerjoin(Template, Template.id == Message.template_id)
        .where(among(Message.id, message_ids), among(Outbox.account_id, account_ids))
        .order_by(Message.created_at, Message.id)
    ).all()
    end_read()
    return [
        _Asked(message.id, account_id or "", message.contact_id, _text(message, template))
        for message, template, account_id in rows
    ]


def _text(message: Message, template: Template | None) -> str:
    known = message.variables  # of a code that has ended nothing is left to compare
    return _plain(rendering.filled(template.body, known)) if template and known is not None else ""


def _plain(text: str) -> str:
    return " ".join(text.split())


def _strangers(account_id: str, records: Iterable[SentRecord]) -> list[SentRecord]:
    """What the provider has and none of our attempts owns, oldest first."""
    listed = sorted(records, key=lambda record: record.at)
    ids = [record.external_id for record in listed]
    owned = set(
        db.session.scalars(
            select(Attempt.external_id).where(Attempt.account_id == account_id, among(Attempt.external_id, ids))
        )
    )
    end_read()
    return [record for record in listed if record.external_id not in owned]


def _match(told: Told, account: ProviderAccount, messages: list[_Asked], strangers: list[SentRecord]) -> None:
    """By their words, each record once. A record without words may be any of them: then nothing is certain."""
    left = list(strangers)
    for each in messages:
        found = next((record for record in left if each.text and each.text in _plain(record.text)), None)
        if found is not None:
            left.remove(found)
            told.sent[each.message_id] = (account, found)
    if all(record.text for record in left):
        told.unsent |= {each.message_id for each in messages if each.text and each.message_id not in told.sent}


def note_sent(row: Outbox, account: ProviderAccount, record: SentRecord) -> None:
    """The provider has it: the attempt the backup knows nothing of is written down, with what became of it.

    In a transaction that holds the row, in the tenant's scope.
    """
    with transaction():
        number = row.attempt_no
        if row.uncertain_since is None:
            number += 1
            db.session.add(
                Attempt(
                    tenant_id=row.tenant_id,
                    message_id=row.message_id,
                    attempt_no=number,
                    account_id=account.id,
                    provider=account.provider,
                    rank=int(Rank.AMBIGUOUS),
                    started_at=record.at,
                )
            )
            db.session.flush()
            lifecycle.annotate([row.message_id], attempts=number, account_id=account.id, provider=account.provider)
        lifecycle.tell(row.tenant_id, [row.message_id], "looked_up", attempt_no=number)
        status = record.status if record.status in ("sent", "delivered", "read", "failed") else "accepted"
        item = StatusItem(
            key=f"restore:{record.external_id}",
            at=record.at,
            correlation_id=f"{row.message_id}.{number}",
            external_id=record.external_id,
            status=status,  # type: ignore[arg-type]
            error=record.fault,
        )
        lifecycle.apply_receipt(account, item, heard=False)
