"""Files in the header of messages: which one a message needs, whether it is there, and what its sender calls it.

A file is fetched once however many messages name its address, and uploaded once to each account that sends it
(`media_work`). A message waits in the outbox, out of the lane's way, until both are done; should it come to its turn
earlier, `resolve` finds that out and it waits on. So a message never leaves without its file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, select, update

from .. import clock, queues
from ..bulk import among
from ..db import db, db_moment, db_now, insert_rows
from ..domain.ids import new_id
from ..domain.links import BadLink, Link, read_link
from ..domain.media import FILES, MediaWish, split_link
from ..domain.rendering import Written
from ..domain.text import T
from ..errors import invalid
from ..models import MediaSource, MediaUpload, Message, Outbox, Tenant
from ..providers.base import Header, Outcome, Provider
from ..security import blind_index
from . import accounts, lifecycle, waiting

PENDING = "media_pending"  # the reason of a message that waits for its file
PARKED_S = 900.0  # looked at again by then even if nobody lets it go
ERASED = "media_erased"
_QUIET = {"synchronize_session": False}
LOST = frozenset({"131053"})  # Meta could not use a file, said in the answer or in a receipt (contracts.md §1.10)
_GONE = "media attachment id"  # how Meta's code 100 ends when an uploaded file is no longer there


@dataclass(frozen=True)
class Ready:
    """What is known of a file at one account. ``state``: waiting, ready, failed. ``external_id``: what the account
    calls it, None before it is uploaded. ``url`` is the address, None when it is no longer kept."""

    state: str
    external_id: str | None
    url: str | None


def check_link(url: str, pointer: str) -> Link:
    """The address, if we may open it. Raises Invalid at this place of the request."""
    try:
        return read_link(url, accounts.settings().media_hosts)
    except BadLink as problem:
        raise invalid(pointer, "media_url_refused", problem.sentence) from problem


def base_of(template: Written) -> str:
    """``https://host/`` of the template's sample: at a provider that takes addresses all its files lie there."""
    header = template.header or {}
    sample = (header.get("example") or {}).get("link") or header.get("link") or ""
    return split_link(str(sample))[0] if sample else ""


def check_place(template: Written, wish: MediaWish) -> None:
    """At a provider that takes addresses, the machine was approved with the template. Raises Invalid."""
    base = base_of(template)
    if wish.kind in FILES and split_link(wish.url)[0] != base:
        detail = T("With this sender, files for this template must lie at %(base)s.", base=base or "-")
        raise invalid("/media/url", "media_mismatch", detail)


# --- a wish comes in --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planned:
    """The file of a new message: its source (None for a place), what the message says of it, whether it must wait."""

    source_id: str | None
    said: Mapping[str, Any]
    waits: bool


def plan(tenant: Tenant, wish: MediaWish, account_id: str | None, provider: type[Provider] | None) -> Planned:
    """Note that this file is wanted for a message of the account, in the message's transaction.

    A file that failed earlier is tried afresh: whoever names it again has perhaps mended it.
    """
    if wish.kind not in FILES:
        return Planned(None, wish.said(), waits=False)
    source_id = _source(tenant, wish)
    # Shared until the commit: whoever fetches it changes its state under the other lock, and then finds our message.
    state, media_id = db.session.execute(
        select(MediaSource.state, MediaSource.media_id)
        .where(MediaSource.id == source_id)
        .with_for_update(read=True)
    ).one()
    there = state == "ready" and (
        provider is None or not provider.uploads_media or is_uploaded(str(media_id), str(account_id))
    )
    if not there:
        want([source_id], account_id if provider is not None and provider.uploads_media else None)
    return Planned(source_id, wish.said(), waits=not there)


def _source(tenant: Tenant, wish: MediaWish) -> str:
    """The one source of this address, waiting to be fetched if it was not known or had failed."""
    index = blind_index(bytes.fromhex(tenant.index_pepper), f"media:{wish.url}")
    mine = (MediaSource.tenant_id == tenant.id, MediaSource.url_index == index, MediaSource.kind == wish.kind)
    known = db.session.execute(select(MediaSource.id, MediaSource.state).where(*mine)).one_or_none()
    if known is None:
        source_id = new_id("msr")
        row = {
            "id": source_id,
            "tenant_id": tenant.id,
            "url_index": index,
            "kind": wish.kind,
            "state": "waiting",
            "tries": 0,
            "next_at": db_now(),
            "created_at": clock.now(),
            "url_sealed": MediaSource.url.seal(MediaSource, tenant.id, source_id, wish.url),
        }
        if insert_rows(MediaSource, [row], once=["tenant_id", "url_index", "kind"]):
            return source_id
        known = db.session.execute(select(MediaSource.id, MediaSource.state).where(*mine)).one()
    if known.state == "failed":
        _afresh(known.id, url_sealed=MediaSource.url.seal(MediaSource, tenant.id, known.id, wish.url))
    return str(known.id)


def _afresh(source_id: str, **more: Any) -> None:
    db.session.execute(
        update(MediaSource)
        .where(MediaSource.id == source_id, MediaSource.state == "failed")
        .values(state="waiting", tries=0, next_at=db_now(), error_code=None, error_detail=None, **more),
        execution_options=_QUIET,
    )


def park(message_id: str) -> None:
    """The new message stays out of the lane until its file is there (in its transaction)."""
    db.session.execute(
        update(Outbox).where(Outbox.message_id == message_id).values(next_at=db_now(PARKED_S)),
        execution_options=_QUIET,
    )


def want(source_ids: Sequence[str], account_id: str | None) -> None:
    """See that these files are fetched and, for an account that needs them uploaded, uploaded (in a transaction)."""
    if account_id is not None:
        rows = db.session.execute(
            select(MediaSource.tenant_id, MediaSource.media_id).where(
                among(MediaSource.id, source_ids), MediaSource.state == "ready"
            )
        ).all()
        ask_for_upload({(row.tenant_id, str(row.media_id), account_id) for row in rows})
    queues.wake_media()


def ask_for_upload(wanted: set[tuple[str, str, str]]) -> None:
    """(tenant, file, account): an upload that is missing or over is due now (in a transaction)."""
    for tenant_id, media_id, account_id in sorted(wanted):
        row = {
            "id": new_id("mup"),
            "tenant_id": tenant_id,
            "media_id": media_id,
            "account_id": account_id,
            "external_id": "",
            "expires_at": db_now(),
            "created_at": clock.now(),
        }
        if not insert_rows(MediaUpload, [row], once=["media_id", "account_id"]):
            forget_upload(media_id, account_id, only_if_over=True)


def forget_upload(media_id: str, account_id: str, *, only_if_over: bool = False) -> None:
    """The account no longer has the file: it is due to be uploaded again (in a transaction)."""
    which = [MediaUpload.media_id == media_id, MediaUpload.account_id == account_id, MediaUpload.external_id != ""]
    if only_if_over:
        which.append(MediaUpload.expires_at <= db_now())
    db.session.execute(
        update(MediaUpload).where(*which).values(external_id="", expires_at=db_now()), execution_options=_QUIET
    )


def is_uploaded(media_id: str, account_id: str) -> bool:
    """Does the account have the file, for a while yet?"""
    found = select(MediaUpload.id).where(
        MediaUpload.media_id == media_id,
        MediaUpload.account_id == account_id,
        MediaUpload.external_id != "",
        MediaUpload.expires_at > db_now(),
    )
    return db.session.scalar(found) is not None


# --- a message's turn -------------------------------------------------------------------------------------------


def resolve(account_id: str, source_ids: Sequence[str]) -> dict[str, Ready]:
    """What is known of these files at the account, by source; one statement."""
    if not source_ids:
        return {}
    here = and_(
        MediaUpload.media_id == MediaSource.media_id,
        MediaUpload.account_id == account_id,
        MediaUpload.external_id != "",
        MediaUpload.expires_at > db_moment(),
    )
    rows = db.session.execute(
        select(
            MediaSource.id,
            MediaSource.tenant_id,
            MediaSource.state,
            MediaSource.url_sealed,
            MediaUpload.external_id,
        )
        .outerjoin(MediaUpload, here)
        .where(among(MediaSource.id, source_ids))
    )
    return {
        row.id: Ready(
            row.state, row.external_id, MediaSource.url.unseal(MediaSource, row.tenant_id, row.id, row.url_sealed)
        )
        for row in rows
    }


def header_of(said: Mapping[str, Any], file: Ready | None, provider: Provider) -> Header | None:
    """The header of one message at this provider; None while its file is not there. ``said`` as in `MediaWish.said`."""
    kind = said["kind"]
    if kind == "location":
        return Header("location", location=dict(said["location"]))
    if file is None or file.state != "ready":
        return None
    filename = str(said.get("filename") or "")
    if not provider.uploads_media:
        return Header(kind, link=file.url or "", filename=filename) if file.url else None
    return Header(kind, media_id=file.external_id, filename=filename) if file.external_id else None


def wait_on(message_ids: Sequence[str], account_id: str, *, uploads: bool) -> None:
    """These messages came to their turn before their file was there: they wait, and it is seen to (in a transaction).

    One whose file had failed is there because a person put it back: the file is tried afresh.
    """
    sources = db.session.execute(
        select(MediaSource.id, MediaSource.state)
        .join(Message, Message.media_source_id == MediaSource.id)
        .where(among(Message.id, message_ids))
        .distinct()
    ).all()
    for source in sorted(sources):
        if source.state == "failed":
            _afresh(source.id)
    db.session.execute(
        update(Outbox)
        .where(among(Outbox.message_id, message_ids))
        .values(state="queued", lease_token=None, lease_until=None, next_at=db_now(PARKED_S)),
        execution_options=_QUIET,
    )
    lifecycle.annotate(list(message_ids), reason=PENDING, reason_detail={}, next_at=None)
    want(sorted(source.id for source in sources), account_id if uploads else None)


def is_gone(outcome: Outcome) -> bool:
    """Did the provider refuse because it no longer has a file we uploaded? (contracts.md §1.10)"""
    return outcome.code in LOST or (outcome.code == "100" and _GONE in outcome.detail.lower())


def forget_file_of(message: Message, account_id: str) -> None:
    """The provider says that it no longer has this message's file: it is uploaded again (in a transaction)."""
    media_id = db.session.scalar(select(MediaSource.media_id).where(MediaSource.id == message.media_source_id))
    if media_id is not None:
        forget_upload(media_id, account_id)
        queues.wake_media()


# --- letting go -------------------------------------------------------------------------------------------------


def release(source_ids: Sequence[str], account_id: str | None = None) -> list[str]:
    """The files are there: messages that waited for them are due now, those of one account if it is given
    (in a transaction that holds the sources). Returns the messages."""
    wanted = _waiting(source_ids)
    if account_id is not None:
        wanted = wanted.where(Outbox.account_id == account_id)
    rows = db.session.execute(wanted.with_for_update(of=Outbox)).all()
    ids = [row.message_id for row in rows]
    if ids:
        waiting.make_due(ids)
        for account in sorted({row.account_id for row in rows}):
            queues.wake_lane(account)
    return ids


def waiting_for(source_ids: Sequence[str]) -> list[Any]:
    """(message, account, life) of each message that waits for these files, locked (in a transaction)."""
    return list(db.session.execute(_waiting(source_ids).with_for_update(of=Outbox)).all())


def _waiting(source_ids: Sequence[str]) -> Any:
    return (
        select(Outbox.message_id, Outbox.account_id, Outbox.tenant_id)
        .join(Message, Message.id == Outbox.message_id)
        .where(
            among(Message.media_source_id, source_ids), Outbox.state == "queued", Message.reason == PENDING
        )
        .order_by(Outbox.message_id)
    )


def sources_of(media_id: str, *, lock: bool = False) -> list[str]:
    """The addresses at which this file was found."""
    wanted = select(MediaSource.id).where(MediaSource.media_id == media_id).order_by(MediaSource.id)
    return list(db.session.scalars(wanted.with_for_update() if lock else wanted))
