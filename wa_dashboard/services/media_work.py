"""Fetching the files that messages wait for, and uploading them to the accounts that send them.

Woken after the commit of the order, else found by the chores. Who takes a file writes down until when it is theirs
(one conditional update), and does its HTTP with no transaction open: a worker that dies in between costs the file a
minute, and nothing is fetched or uploaded by two at once. Many files at a time, each in a thread of its own.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import delete, select, update

from .. import clock, failpoints, logs, queues
from ..db import all_tenants, db, db_now, end_read, insert_rows, tenant_scope, transaction
from ..domain.ids import new_id
from ..domain.text import T
from ..models import Media, MediaSource, MediaUpload, ProviderAccount
from ..providers.base import CannotBuild, Outcome, Provider, ProviderError, provider_named
from . import accounts, fetching, lifecycle, media, media_fallback
from .fetching import CannotFetch, Fetched

log = logs.get(__name__)

AT_ONCE = 8  # files on their way at a time, in one process
LEASE_S = 60.0  # longer than a fetch or an upload can take
KEPT = timedelta(days=30)  # so long the bytes are kept, and so long Meta keeps an upload
MARGIN = timedelta(days=2)
# Seconds until the next try after the first, second … failure: five tries in about an hour.
DELAYS = (20.0, 120.0, 600.0, 2700.0)
UPLOAD_AGAIN_S = 20.0
_LOOK_S = 0.2  # while something is on its way, so often new work is looked for
_QUIET = {"synchronize_session": False}
Thing = TypeVar("Thing")


def work_due(budget_s: float = 5.0, stopping: Callable[[], object] = lambda: False) -> int:
    """Fetch and upload what is due, and what becomes due meanwhile, for so many seconds; what is on its way then is
    still brought home. Any number may run, and die, at once. Returns how much was dealt with.

    A file server that is slow holds up its own files only: the others are settled as they come.
    """
    until = time.monotonic() + budget_s
    under_way: dict[Future[Any], _Errand | _Upload] = {}
    done = 0
    with ThreadPoolExecutor(AT_ONCE, "wa-media") as pool:
        while True:
            if time.monotonic() < until and not stopping():
                for errand in _claim_sources(AT_ONCE - len(under_way)):
                    under_way[pool.submit(_fetch, errand, _allowed())] = errand
                for upload in _claim_uploads(AT_ONCE - len(under_way)):
                    under_way[pool.submit(_upload, upload)] = upload
            if not under_way:
                return done
            for future in wait(under_way, timeout=_LOOK_S, return_when=FIRST_COMPLETED).done:
                _settle(under_way.pop(future), future.result())
                done += 1


def _settle(what: "_Errand | _Upload", result: Any) -> None:
    with tenant_scope(what.tenant_id):
        if isinstance(what, _Errand):
            _settle_fetch(what, result)
        else:
            _settle_upload(what, result)


def _claim(due: Any, most: int, take: Callable[[str], Thing | None]) -> list[Thing]:
    if most <= 0:
        return []
    with all_tenants("files of every organisation are fetched"):
        rows = db.session.execute(due.limit(most)).all()
        end_read()
    taken = []
    for row_id, tenant_id in rows:
        with tenant_scope(tenant_id), transaction():
            if (errand := take(row_id)) is not None:
                taken.append(errand)
    return taken


# --- fetching ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Errand:
    """One file to fetch; ``lease`` proves that it is still ours."""

    source_id: str
    tenant_id: str
    kind: str
    url: str | None
    tries: int
    lease: datetime


def _due_sources() -> Any:
    waiting = (MediaSource.state == "waiting", MediaSource.next_at <= db_now())
    return select(MediaSource.id, MediaSource.tenant_id).where(*waiting).order_by(MediaSource.next_at)


def _claim_sources(most: int) -> list[_Errand]:
    return _claim(_due_sources(), most, _claim_source)


def _claim_source(source_id: str) -> _Errand | None:
    row = db.session.execute(
        update(MediaSource)
        .where(MediaSource.id == source_id, MediaSource.state == "waiting", MediaSource.next_at <= db_now())
        .values(next_at=db_now(LEASE_S), tries=MediaSource.tries + 1)
        .returning(
            MediaSource.id,
            MediaSource.tenant_id,
            MediaSource.kind,
            MediaSource.url_sealed,
            MediaSource.tries,
            MediaSource.next_at,
        ),
        execution_options=_QUIET,
    ).one_or_none()
    if row is None:
        return None
    url = MediaSource.url.unseal(MediaSource, row.tenant_id, row.id, row.url_sealed)
    return _Errand(row.id, row.tenant_id, row.kind, url, row.tries, row.next_at)


def _fetch(errand: _Errand, allowed: Mapping[str, int]) -> Fetched | CannotFetch:
    """In a thread of its own: touches no database."""
    failpoints.hit("F20")
    if errand.url is None:
        return CannotFetch(media.ERASED, T("The address of the file is no longer kept."), final=True)
    try:
        return fetching.fetch(errand.url, errand.kind, allowed=allowed)
    except CannotFetch as problem:
        return problem
    except Exception as error:
        log.exception("media_fetch_broke", source_id=errand.source_id)
        name = type(error).__name__
        return CannotFetch("media_unreachable", T("The file could not be fetched: %(error)s.", error=name))


def _settle_fetch(errand: _Errand, result: Fetched | CannotFetch) -> None:
    failpoints.hit("F21")
    with transaction():
        ours = db.session.scalar(
            select(MediaSource.id)
            .where(
                MediaSource.id == errand.source_id,
                MediaSource.state == "waiting",
                MediaSource.next_at == errand.lease,
            )
            .with_for_update()
        )
        if ours is None:
            return  # our lease was over, and another has it now
        if isinstance(result, Fetched):
            _keep(errand, result)
        elif result.final or errand.tries > len(DELAYS):
            _give_up(errand, result)
        else:
            _note(errand, result, next_at=db_now(DELAYS[errand.tries - 1]))


def _note(errand: _Errand, problem: CannotFetch, **values: object) -> None:
    values |= {"error_code": problem.code, "error_detail": str(problem.sentence)}
    db.session.execute(
        update(MediaSource).where(MediaSource.id == errand.source_id).values(**values), execution_options=_QUIET
    )
    log.info("media_not_there", source_id=errand.source_id, code=problem.code, tries=errand.tries)


def _keep(errand: _Errand, file: Fetched) -> None:
    media_id = _store(errand.tenant_id, errand.kind, file)
    db.session.execute(
        update(MediaSource)
        .where(MediaSource.id == errand.source_id)
        .values(
            state="ready",
            media_id=media_id,
            fetched_at=db_now(),
            next_at=None,
            error_code=None,
            error_detail=None,
        ),
        execution_options=_QUIET,
    )
    waiting = media.waiting_for([errand.source_id])
    uploading = _accounts_that_upload({row.account_id for row in waiting})
    media.ask_for_upload({(errand.tenant_id, media_id, account_id) for account_id in uploading})
    for account_id in {row.account_id for row in waiting}:
        if account_id not in uploading or media.is_uploaded(media_id, account_id):
            media.release([errand.source_id], account_id)


def _store(tenant_id: str, kind: str, file: Fetched) -> str:
    """The file by its content, once for each organisation, with its bytes."""
    digest = hashlib.sha256(file.content).hexdigest()
    media_id = new_id("med")
    now = clock.now()
    row = {
        "id": media_id,
        "tenant_id": tenant_id,
        "sha256": digest,
        "kind": kind,
        "mime_type": file.mime_type,
        "size": len(file.content),
        "used_at": now,
        "created_at": now,
        "content_sealed": Media.content.seal(Media, tenant_id, media_id, file.content),
    }
    if insert_rows(Media, [row], once=["tenant_id", "sha256"]):
        return media_id
    known = db.session.execute(
        select(Media.id, Media.erased_at).where(Media.tenant_id == tenant_id, Media.sha256 == digest).with_for_update()
    ).one()
    values: dict[str, object] = {"used_at": now}
    if known.erased_at is not None:
        values |= {"erased_at": None, "content_sealed": Media.content.seal(Media, tenant_id, known.id, file.content)}
    db.session.execute(update(Media).where(Media.id == known.id).values(**values), execution_options=_QUIET)
    return str(known.id)


def _accounts_that_upload(account_ids: set[str]) -> set[str]:
    rows = db.session.execute(
        select(ProviderAccount.id, ProviderAccount.provider).where(ProviderAccount.id.in_(account_ids))
    )
    return {row.id for row in rows if provider_named(row.provider).uploads_media}


def _give_up(errand: _Errand, problem: CannotFetch) -> None:
    """No later try would help, or all were used: the messages go without it where that was allowed, else they wait
    for a person."""
    _note(errand, problem, state="failed", next_at=None)
    for row in media.waiting_for([errand.source_id]):
        if media_fallback.go_without(row.message_id, row.account_id):
            queues.wake_lane(row.account_id)
        else:
            lifecycle.bury(errand.tenant_id, row.message_id, problem.code, str(problem.sentence), "media")


# --- uploading --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Upload:
    """One file to upload to one account; ``lease`` proves that it is still ours."""

    upload_id: str
    tenant_id: str
    media_id: str
    account_id: str
    provider: Provider
    content: bytes | None
    mime_type: str
    lease: datetime


def _due_uploads() -> Any:
    return (
        select(MediaUpload.id, MediaUpload.tenant_id)
        .join(ProviderAccount, ProviderAccount.id == MediaUpload.account_id)
        .where(MediaUpload.external_id == "", MediaUpload.expires_at <= db_now(), ProviderAccount.status != "disabled")
        .order_by(MediaUpload.expires_at)
    )


def _claim_uploads(most: int) -> list[_Upload]:
    return _claim(_due_uploads(), most, _claim_upload)


def _claim_upload(upload_id: str) -> _Upload | None:
    row = db.session.execute(
        update(MediaUpload)
        .where(MediaUpload.id == upload_id, MediaUpload.external_id == "", MediaUpload.expires_at <= db_now())
        .values(expires_at=db_now(LEASE_S))
        .returning(MediaUpload.tenant_id, MediaUpload.media_id, MediaUpload.account_id, MediaUpload.expires_at),
        execution_options=_QUIET,
    ).one_or_none()
    if row is None:
        return None
    file = db.session.execute(
        select(Media.mime_type, Media.content_sealed).where(Media.id == row.media_id)
    ).one()
    content = Media.content.unseal(Media, row.tenant_id, row.media_id, file.content_sealed)
    provider = accounts.provider_of(accounts.find_account(row.account_id))
    return _Upload(
        upload_id, row.tenant_id, row.media_id, row.account_id, provider, content, file.mime_type, row.expires_at
    )


def _upload(upload: _Upload) -> str | Outcome:
    """The account's own name for the file, or why there is none."""
    if upload.content is None:
        return Outcome("rejected", "media", media.ERASED, "the bytes are no longer kept")
    try:
        return upload.provider.upload_media(upload.content, upload.mime_type)
    except ProviderError as problem:
        return problem.outcome
    except CannotBuild as problem:
        return Outcome("rejected", "media", "cannot_build", str(problem.reason))
    except Exception as error:
        log.exception("media_upload_broke", upload_id=upload.upload_id)
        return Outcome("not_sent", "transient", "internal_error", type(error).__name__)


def _settle_upload(upload: _Upload, result: str | Outcome) -> None:
    failpoints.hit("F22")
    with transaction():
        sources = media.sources_of(upload.media_id, lock=True)
        mine = (MediaUpload.id == upload.upload_id, MediaUpload.expires_at == upload.lease)
        ours = db.session.scalar(select(MediaUpload.id).where(*mine).with_for_update())
        if ours is None:
            return
        if isinstance(result, str):
            _change(upload, external_id=result, expires_at=db_now((KEPT - MARGIN).total_seconds()))
            media.release(sources, upload.account_id)
        elif result.code == media.ERASED:
            _fetch_again(upload, sources)
        elif result.kind == "rejected" and result.holds is None and result.error_class != "account_stop":
            _refuse(upload, sources, result)
        else:
            _change(upload, expires_at=db_now(result.retry_after or UPLOAD_AGAIN_S))
            log.info("media_not_uploaded", account_id=upload.account_id, kind=result.kind, code=result.code)


def _change(upload: _Upload, **values: object) -> None:
    db.session.execute(
        update(MediaUpload).where(MediaUpload.id == upload.upload_id).values(**values), execution_options=_QUIET
    )


def _fetch_again(upload: _Upload, sources: Sequence[str]) -> None:
    """The bytes were erased meanwhile: their addresses are fetched once more, then uploaded."""
    db.session.execute(delete(MediaUpload).where(MediaUpload.id == upload.upload_id), execution_options=_QUIET)
    db.session.execute(
        update(MediaSource)
        .where(MediaSource.id.in_(sources), MediaSource.state == "ready")
        .values(state="waiting", tries=0, next_at=db_now()),
        execution_options=_QUIET,
    )


def _refuse(upload: _Upload, sources: Sequence[str], outcome: Outcome) -> None:
    """The provider does not want this file: nothing that waits for it there can be sent with it."""
    db.session.execute(delete(MediaUpload).where(MediaUpload.id == upload.upload_id), execution_options=_QUIET)
    for row in media.waiting_for(sources):
        if row.account_id != upload.account_id:
            continue
        if media_fallback.go_without(row.message_id, row.account_id):
            queues.wake_lane(row.account_id)
        else:
            lifecycle.bury(upload.tenant_id, row.message_id, "media_refused", outcome.detail, "media")


def _allowed() -> Mapping[str, int]:
    return accounts.settings().media_hosts
