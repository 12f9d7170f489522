"""What a provider tells of an account: kept in its story with a sentence, believed, and acted on.

Limits and quality become the account's own; a stop holds it and a resume lets it go. The newest word counts, in
whatever order they come. News of a business account concerns all its numbers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from .. import logs
from ..db import db
from ..domain import account_news as words
from ..domain.text import T
from ..models import AccountEvent, AccountRef, ProviderAccount
from ..providers.base import AccountItem, Item, UnknownItem
from . import account_facts, account_story, audit, breakers

log = logs.get(__name__)

NEWS, UNKNOWN = "news", "unknown_news"
SAID_AGAIN = timedelta(days=1)  # the same unknown kind has one line a day, however often it comes
_MOST_RAW = 4_000  # letters of JSON
_FACTS = ("tier", "rate", "numbers", "quality", "name", "decision", "reason", "severity", "country")


@dataclass(frozen=True)
class NewsLine:
    """One thing the provider said. ``kind``: its own word; ``raw``: as it came, numbers masked; ``at``: aware UTC."""

    at: datetime
    kind: str
    sentence: T
    unknown: bool
    raw: Mapping[str, Any]


def news_of(account_id: str, limit: int = 50) -> list[NewsLine]:
    """What the provider told of the account, newest first, unknown kinds among it; in the tenant's scope."""
    return [
        NewsLine(
            event.at,
            str(event.detail.get("event") or event.detail.get("why") or event.kind),
            words.unknown_sentence(event.detail) if event.kind == UNKNOWN else words.sentence(event.detail),
            event.kind == UNKNOWN,
            event.detail.get("raw") or {},
        )
        for event in account_story.newest(account_id, (NEWS, UNKNOWN), limit)
    ]


def take_in(account: ProviderAccount, item: AccountItem, key: str) -> str:
    """Believe it, for every account it is about; returns ``applied``, or ``outdated`` when newer news is here already.

    In the tenant's scope and a transaction. ``key``: the item's name; the same one is told once.
    """
    fresh = [_take_in(each, item, key) for each in _concerned(account, item)]
    return "applied" if any(fresh) else "outdated"


def keep_unknown(account: ProviderAccount, item: Item, key: str) -> None:
    """Show that the provider said something that we do not understand; as `take_in`."""
    why = logs.mask_text(item.reason if isinstance(item, UnknownItem) else type(item).__name__)[:200].replace("\0", "")
    lately = (AccountEvent.kind == UNKNOWN, AccountEvent.at >= item.at - SAID_AGAIN)
    known = db.session.scalars(select(AccountEvent.detail).where(AccountEvent.account_id == account.id, *lately))
    if any(detail.get("why") == why or detail.get("key") == key[:16] for detail in known):
        return
    account_story.add_line(
        account.tenant_id, account.id, UNKNOWN, at=item.at, why=why, key=key[:16], raw=as_kept(item.raw)
    )


def as_kept(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What came, fit to be stored and shown: telephone numbers masked, and not longer than a page."""
    kept: dict[str, Any] = _masked(raw)
    written = json.dumps(kept, ensure_ascii=False, default=str)
    return kept if len(written) <= _MOST_RAW else {"cut": written[:_MOST_RAW]}


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {logs.mask_text(str(key))[:100]: _masked(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(each) for each in value]
    return logs.mask_text(value) if isinstance(value, str) else value


def _concerned(account: ProviderAccount, item: AccountItem) -> list[ProviderAccount]:
    """The account, and where the news is of the business account and not of one number, its other numbers."""
    refs = {kind: ref for ref in item.account_refs for kind in [ref.partition(":")[0]]}
    if item.phone or "pnid" in refs or "phone" in refs or "waba" not in refs:
        return [account]
    wanted = (
        select(ProviderAccount)
        .join(AccountRef, AccountRef.account_id == ProviderAccount.id)
        .where(
            AccountRef.ref == refs["waba"],
            AccountRef.provider == account.provider,
            ProviderAccount.provider == account.provider,
            ProviderAccount.live == account.live,
        )
        .order_by(ProviderAccount.id)
    )
    found = list(db.session.scalars(wanted).unique())
    return found if any(each.id == account.id for each in found) else [account, *found]


def _take_in(account: ProviderAccount, item: AccountItem, key: str) -> bool:
    later = _told_since(account, item.at)
    _write_down(account, item, key)
    done = [_set_limits(account, item, later)]
    if item.effect != "info":
        done.append(_switch(account, item, later))
    return all(done)


def _told_since(account: ProviderAccount, at: datetime) -> list[dict[str, Any]]:
    """The details of what was said later than this."""
    wanted = select(AccountEvent.detail).where(
        AccountEvent.account_id == account.id, AccountEvent.kind == NEWS, AccountEvent.at > at
    )
    return list(db.session.scalars(wanted))


def _write_down(account: ProviderAccount, item: AccountItem, key: str) -> None:
    mine = (AccountEvent.account_id == account.id, AccountEvent.kind == NEWS, AccountEvent.at == item.at)
    if any(detail.get("key") == key[:16] for detail in db.session.scalars(select(AccountEvent.detail).where(*mine))):
        return
    told: dict[str, Any] = {name: value for name in _FACTS if (value := getattr(item, name)) is not None}
    told |= {name: at.isoformat() for name in ("until", "effective_at") if (at := getattr(item, name)) is not None}
    if item.restrictions:
        told["restrictions"] = list(item.restrictions)
    if item.volume is not None:
        told["volume"] = {name: getattr(item.volume, name) for name in ("category", "region", "least", "most", "month")}
    if item.fault is not None:
        told |= {"class": item.fault.error_class, "code": item.fault.code}
    detail = logs.mask_text(item.detail)[:500]
    account_story.add_line(
        account.tenant_id, account.id, NEWS, at=item.at, topic=item.topic, event=item.event[:100],
        effect=item.effect, detail=detail, key=key[:16], raw=as_kept(item.raw), **told,
    )  # fmt: skip


def _set_limits(account: ProviderAccount, item: AccountItem, later: list[dict[str, Any]]) -> bool:
    """The number's limit and quality, unless something said later tells them. False for outdated news."""
    told = {name: value for name in ("tier", "quality") if (value := getattr(item, name)) is not None}
    fresh = {name: value for name, value in told.items() if all(said.get(name) is None for said in later)}
    if fresh:
        account_facts.learn(account, **fresh)
        log.info("account_limits_told", account_id=account.id, **fresh)
    return fresh == told


def _switch(account: ProviderAccount, item: AccountItem, later: list[dict[str, Any]]) -> bool:
    """Hold the account, or let it go again. False for outdated news."""
    if any(said.get("effect") in ("stop", "resume") for said in later):
        return False
    reason = f"{item.fault.error_class}:{item.fault.code}" if item.fault else f"provider:{item.event}"
    changed = _hold(account, reason[:64]) if item.effect == "stop" else _release(account)
    if changed:
        action = "account.held" if item.effect == "stop" else "account.released"
        audit.record(account.tenant_id, f"provider:{account.provider}", action, account.id, event=item.event[:100])
        log.warning(action.replace(".", "_"), account_id=account.id, provider_event=item.event[:100])
    return True


def _hold(account: ProviderAccount, reason: str) -> bool:
    changed = db.session.scalar(
        update(ProviderAccount)
        .where(ProviderAccount.id == account.id, ProviderAccount.status == "active")
        .values(status="held", hold_reason=reason)
        .returning(ProviderAccount.id),
        execution_options={"synchronize_session": False},
    )
    if changed:
        db.session.refresh(account)
    return changed is not None


def _release(account: ProviderAccount) -> bool:
    """Only what the provider had stopped: what a person has put on hold waits for that person."""
    if not (account.hold_reason or "").startswith(("provider:", "account_stop:")):
        return False
    released = breakers.recover(account, by="provider")
    if released:
        db.session.refresh(account)
    return released
