"""One piece of a provider's news: what it does, and the row that says it was dealt with."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from .. import clock, logs
from ..bulk import rows_by_key
from ..db import db, insert_rows
from ..domain.failures import VALUES_DO_NOT_FIT
from ..domain.ids import new_id
from ..models import Message, Outbox, ProviderAccount, WebhookEvent, WebhookItem
from ..providers.base import (
    AccountItem,
    Fault,
    InboundItem,
    Item,
    PreferenceItem,
    Pricing,
    StatusItem,
    TemplateStatusItem,
    UnknownItem,
)
from ..providers.verdict import outcome_of
from . import account_news, breakers, code_ends, consent, lifecycle, opt_outs, template_holds, template_review

log = logs.get(__name__)

# Signed posts carry no time of their own and stay valid for ever: what people say is not believed when it comes
# later than the longest redelivery (durability.md §3.17).
STALE = timedelta(days=8)
FUTURE = timedelta(minutes=5)
_ID = re.compile(r"msg_[0-9a-z]{26}\.[0-9]{1,5}")
_KINDS: dict[type[Item], str] = {
    StatusItem: "status",
    InboundItem: "inbound",
    PreferenceItem: "preference",
    TemplateStatusItem: "template",
    AccountItem: "account",
}


@dataclass(frozen=True)
class Verdict:
    """What became of an item. ``state``: applied, parked, ignored, unknown, failed, or repeated (nothing done).

    ``quarantine``: a person should look at the post.
    """

    state: str
    message_id: str | None = None
    why: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    quarantine: bool = False


def kind_of(item: Item) -> str:
    return _KINDS.get(type(item), "unknown")


def key_of(item: Item) -> str:
    """The item's name in the table: 64 letters, the same for every repetition."""
    return hashlib.sha256(item.key.encode("utf-8", "surrogatepass")).hexdigest()


def in_words(error: Exception) -> str:
    """An error for the quarantine list: short, without telephone numbers and statements."""
    text = str(error.orig if isinstance(error, DBAPIError) else error).replace("\0", "")
    return logs.mask_text(f"{type(error).__name__}: {next(iter(text.splitlines()), '')}")[:500]


# --- its row ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """What an earlier reading left of an item; ``tried``: at which try of its post it failed."""

    id: str
    state: str
    tried: int | None


def known(names: Collection[tuple[str, str]]) -> dict[tuple[str, str], Known]:
    """The rows there are of these items, by account and key."""
    columns = ("account_id", "item_key", "id", "state", "detail")
    rows = rows_by_key(WebhookItem, columns, columns[:2], sorted(names))
    return {
        (account_id, key): Known(row_id, state, detail.get("try")) for account_id, key, row_id, state, detail in rows
    }


def lock_messages(items: Iterable[Item]) -> None:
    """Lock the messages these receipts name, outbox rows first, in one order: everybody who locks several does so."""
    ids = sorted(
        {
            item.correlation_id.rpartition(".")[0]
            for item in items
            if isinstance(item, StatusItem) and item.correlation_id and _ID.fullmatch(item.correlation_id)
        }
    )
    keys = [(message_id,) for message_id in ids]
    rows_by_key(Outbox, ("message_id",), ("message_id",), keys, lock=True)
    rows_by_key(Message, ("id",), ("id",), keys, lock=True)


def claim(event: WebhookEvent, account: ProviderAccount | None, item: Item, before: Known | None) -> str | None:
    """Make this item ours within the transaction: its row's id, or None when somebody else has dealt with it.

    ``before`` is the row an earlier reading left, which is taken up again.
    """
    if before is not None:
        taken = update(WebhookItem).where(WebhookItem.id == before.id, WebhookItem.state == before.state)
        return db.session.scalar(
            taken.values(state="applied").returning(WebhookItem.id),
            execution_options={"synchronize_session": False},
        )
    row: dict[str, Any] = {
        "id": new_id("whi"),
        "tenant_id": event.tenant_id,
        "event_id": event.id,
        "account_id": account.id if account else event.account_id,
        "item_key": key_of(item),
        "kind": kind_of(item),
        "state": "applied",
        "external_id": id_of(item),
        "at": item.at,
        "recorded_at": clock.now(),
        "detail": {},
    }
    inserted = insert_rows(WebhookItem, [row], once=("account_id", "item_key"))
    return inserted[0] if inserted else None


def record(item_id: str, verdict: Verdict) -> None:
    """Write down what became of a claimed item."""
    detail = verdict.detail | ({"why": verdict.why} if verdict.why else {})
    if verdict.quarantine:
        detail["suspect"] = True
    db.session.execute(
        update(WebhookItem)
        .where(WebhookItem.id == item_id)
        .values(state=verdict.state, message_id=verdict.message_id, detail=detail),
        execution_options={"synchronize_session": False},
    )


# --- what it does -----------------------------------------------------------------------------------------------


def apply(account: ProviderAccount | None, item: Item, came: datetime) -> Verdict:
    """Let the item take effect, in the tenant's scope and a transaction. ``came``: when its post arrived (UTC).

    Raises whatever the verbs below raise; nothing of it must survive then.
    """
    if account is None:
        return Verdict("ignored", why="about an account of somebody else")
    item = believed(item, came)
    if isinstance(item, InboundItem | PreferenceItem) and item.at < came - STALE:
        return Verdict("ignored", why="said more than eight days before it came", quarantine=True)
    verb = _VERBS.get(type(item), _unknown)
    return verb(account, item)


def believed(item: Any, came: datetime) -> Any:
    """The item; a wrong clock must not outvote what comes later."""
    return replace(item, at=came) if item.at > came + FUTURE else item


def id_of(item: Item) -> str | None:
    external_id: str | None = getattr(item, "external_id", None)
    return external_id[:200] if external_id else None


def _heard(account: ProviderAccount, item: InboundItem) -> Verdict:
    said = code_ends.disown(account, item) if code_ends.is_disowned(item) else {}
    return Verdict("applied", detail=consent.hear(account, item) | said)


def _preferred(account: ProviderAccount, item: PreferenceItem) -> Verdict:
    return Verdict("applied", detail=consent.prefer(account, item))


def _about_template(account: ProviderAccount, item: TemplateStatusItem) -> Verdict:
    approval_id = template_review.apply_news(account, item)
    said = {"change": item.change, "approval_id": approval_id}
    if approval_id is None:
        return Verdict("ignored", why="no template of ours", detail=said)
    return Verdict("applied", detail=said)


def _receipt(account: ProviderAccount, item: StatusItem) -> Verdict:
    message_id = merge(account, item)
    if message_id is None:
        return Verdict("parked", detail=keep(item))
    return Verdict("applied", message_id, detail={"status": item.status})


def apply_parked(account: ProviderAccount, row: WebhookItem) -> Verdict:
    """Try a parked receipt again: applied, or still parked. Same scope and transaction as `apply`."""
    message_id = merge(account, _taken_from(row))
    if message_id is None:
        return Verdict("parked", detail=row.detail)
    return Verdict("applied", message_id, detail={"status": row.detail["status"], "was": "parked"})


def merge(account: ProviderAccount, item: StatusItem, *, heard: bool = True) -> str | None:
    """Let a receipt take effect on its message, and on whatever else it says something of; returns the message's id,
    None when it is not known here. Not ``heard``: we asked for it. Same scope and transaction as `apply`."""
    if tells_of_opt_out(item):
        opt_outs.lock(account)
    message_id = lifecycle.apply_receipt(account, item, heard=heard)
    if tells_of_account(item):
        breakers.heard(account, item)
        if message_id is not None:
            lifecycle.wait_for_account(message_id)
    elif message_id is not None and tells_of_template(item):
        template_holds.refused(account, message_id)
    elif message_id is not None and tells_of_opt_out(item):
        opt_outs.record(account, [message_id], item.at)
    return message_id


def needs_care(item: Item) -> bool:
    """Whether this receipt says something beyond its own message, so that it is read by itself."""
    return tells_of_account(item) or tells_of_template(item) or tells_of_opt_out(item)


def tells_of_account(item: Item) -> bool:
    """Whether this receipt says that the account itself is refused, as a missing payment is told after each message."""
    fault = _fault_of(item)
    return fault is not None and outcome_of(fault).holds is not None


def tells_of_template(item: Item) -> bool:
    """Whether this receipt says that the template may not be sent now, which Twilio tells after it took the message."""
    fault = _fault_of(item)
    return fault is not None and fault.error_class == "template" and fault.code not in VALUES_DO_NOT_FIT


def tells_of_opt_out(item: Item) -> bool:
    """Whether this receipt says that the person wants no promotions of ours (131050)."""
    fault = _fault_of(item)
    return fault is not None and fault.error_class == opt_outs.CLASS


def _fault_of(item: Item) -> Fault | None:
    return item.error if isinstance(item, StatusItem) and item.status == "failed" else None


def keep(item: StatusItem) -> dict[str, Any]:
    """What a parked receipt needs to be applied later; the person's number is not part of it."""
    error = item.error and [*item.error[:2], logs.mask_text(item.error.detail), item.error.scope]
    return {
        "status": item.status,
        "correlation_id": item.correlation_id,
        "error": error,
        "pricing": item.pricing and list(item.pricing),
    }


def _taken_from(row: WebhookItem) -> StatusItem:
    error, pricing = row.detail.get("error"), row.detail.get("pricing")
    return StatusItem(
        key=row.item_key,
        at=row.at,
        correlation_id=row.detail.get("correlation_id"),
        external_id=row.external_id,
        status=row.detail["status"],
        error=Fault(*error) if error else None,
        pricing=Pricing(*pricing) if pricing else None,
    )


def _unknown(account: ProviderAccount, item: Item) -> Verdict:
    reason = item.reason if isinstance(item, UnknownItem) else f"{type(item).__name__} is new to us"
    log.info("webhook_item_unknown", account_id=account.id, reason=reason[:200])
    account_news.keep_unknown(account, item, key_of(item))
    damaged = isinstance(item, UnknownItem) and item.malformed
    return Verdict("unknown", why=logs.mask_text(reason)[:500].replace("\0", ""), quarantine=damaged)


def _about_account(account: ProviderAccount, item: AccountItem) -> Verdict:
    """The provider stopped the account, or lets it send again, or tells of its limits; the newest word counts."""
    said = {"event": item.event[:100], "effect": item.effect, "detail": logs.mask_text(item.detail)[:500]}
    if account_news.take_in(account, item, key_of(item)) == "outdated":
        return Verdict("ignored", why="newer news is here already", detail=said)
    return Verdict("applied", detail=said)


_VERBS: dict[type[Item], Callable[[ProviderAccount, Any], Verdict]] = {
    StatusItem: _receipt,
    InboundItem: _heard,
    PreferenceItem: _preferred,
    TemplateStatusItem: _about_template,
    AccountItem: _about_account,
}
