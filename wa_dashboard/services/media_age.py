"""Files grow old: a ticket is personal data, so its bytes go after thirty days, and its address with them."""

from sqlalchemy import delete, select, update

from .. import clock
from ..db import all_tenants, db, end_read, tenant_scope, transaction
from ..models import Media, MediaSource, MediaUpload, Message, Outbox
from . import media
from .media_work import KEPT

_AT_ONCE = 200
_QUIET = {"synchronize_session": False}


def erase_old() -> int:
    """Erase files fetched more than thirty days ago, and addresses that never led to one. Returns how many files."""
    with all_tenants("files of every organisation grow old"):
        old = clock.now() - KEPT
        files = db.session.execute(
            select(Media.tenant_id, Media.id).where(Media.erased_at.is_(None), Media.used_at < old).limit(_AT_ONCE)
        ).all()
        dead = db.session.execute(
            select(MediaSource.tenant_id, MediaSource.id)
            .where(
                MediaSource.state == "failed", MediaSource.url_sealed.is_not(None), MediaSource.created_at < old
            )
            .limit(_AT_ONCE)
        ).all()
        end_read()
    for tenant_id, source_id in dead:
        with tenant_scope(tenant_id), transaction():
            _forget_addresses(MediaSource.id == source_id, MediaSource.state == "failed")
    done = 0
    for tenant_id, media_id in files:
        with tenant_scope(tenant_id):
            done += erase(media_id)
    return done


def erase(media_id: str) -> bool:
    """Erase one file now: its bytes, its addresses, its names at the accounts. In the tenant's scope; opens its own
    transaction. False: a message still waits to be sent with it."""
    with transaction():
        sources = media.sources_of(media_id, lock=True)
        waits = select(Outbox.message_id).join(Message, Message.id == Outbox.message_id)
        if db.session.scalar(waits.where(Message.media_source_id.in_(sources)).limit(1)) is not None:
            return False
        db.session.execute(
            update(Media)
            .where(Media.id == media_id, Media.erased_at.is_(None))
            .values(content_sealed=None, erased_at=clock.now()),
            execution_options=_QUIET,
        )
        db.session.execute(delete(MediaUpload).where(MediaUpload.media_id == media_id), execution_options=_QUIET)
        _forget_addresses(MediaSource.id.in_(sources))
    return True


def _forget_addresses(*which: object) -> None:
    db.session.execute(
        update(MediaSource)
        .where(*which)  # type: ignore[arg-type]
        .values(state="failed", error_code=media.ERASED, media_id=None, next_at=None, url_sealed=None),
        execution_options=_QUIET,
    )


def erase_of_message(message_id: str) -> bool:
    """The file of one message, when the message is erased: unless another message has the same. In the tenant's scope;
    opens its own transaction. Returns whether a file was erased."""
    row = db.session.execute(
        select(MediaSource.id, MediaSource.media_id)
        .join(Message, Message.media_source_id == MediaSource.id)
        .where(Message.id == message_id)
    ).one_or_none()
    if row is None or row.media_id is None:
        return False
    shared = select(Message.id).where(
        Message.media_source_id.in_(media.sources_of(row.media_id)), Message.id != message_id
    )
    return db.session.scalar(shared.limit(1)) is None and erase(row.media_id)
