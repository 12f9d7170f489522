"""``/problems``: messages that ended badly and wait for a decision, and ``/messages/…/retry`` for one of them."""

from typing import Annotated, Any

from flask import Blueprint, Response, request
from pydantic import Field

from .. import clock
from ..domain.causes import CAUSES
from ..domain.text import T
from ..errors import Finding, Invalid
from ..i18n import translate
from ..services import by_hand, deciding, holdups, messages, problems
from ..services.deciding import Decided, Which
from ..services.holdups import Holdup
from ..services.problems import Group, Item
from . import cursors
from .access import caller, requires
from .idempotency import idempotent
from .message_items import item_of, problem_of
from .parsing import ApiModel, Reference, body, parse
from .problems import language
from .writing import answer, instant, said

MOST_IDS = 1000

blueprint = Blueprint("stuck", __name__)


class WhichBody(ApiModel):
    """Some messages, or all of a cause: exactly one of the two."""

    message_ids: Annotated[list[Reference], Field(min_length=1, max_length=MOST_IDS)] | None = None
    cause: Reference | None = None

    def which(self) -> Which:
        """For the services. Raises Invalid for both, neither, or a cause that does not exist."""
        if (self.message_ids is None) == (self.cause is None):
            raise _wrong("/message_ids", "one_of", T("Name message_ids or a cause, one of the two."))
        if self.cause is not None and self.cause not in CAUSES:
            detail = T("There is no such cause. One of: %(causes)s.", causes=", ".join(CAUSES))
            raise _wrong("/cause", "unknown_cause", detail)
        return Which(caller().live, self.message_ids or (), self.cause)


class RetryBody(WhichBody):
    """``account``: through which sender instead of the message's own; ``confirmed``: it may then come twice."""

    account: Reference | None = None
    confirmed: bool = False


class CloseBody(WhichBody):
    """``note``: why nobody needs to look any more."""

    note: Annotated[str, Field(max_length=deciding.NOTE_MAX)] = ""


class OneBody(ApiModel):
    """``account``: through which sender instead of the message's own; ``confirmed``: it may then come twice."""

    account: Reference | None = None
    confirmed: bool = False


def _wrong(pointer: str, code: str, detail: T) -> Invalid:
    return Invalid(T("The request did not validate."), findings=[Finding(pointer, code, detail)])


@blueprint.get("/problems/<tenant_id>")
@requires("messages:read")
def index() -> Response:
    """The open problems by cause, and what waits by itself; with ``cause`` the messages of one, newest first."""
    cause = request.args.get("cause")
    unknown = sorted(set(request.args) - {"cause", "cursor", "limit"})
    if unknown or (cause is not None and cause not in CAUSES):
        name = unknown[0] if unknown else "cause"
        detail = T("There is no such cause. One of: %(causes)s.", causes=", ".join(CAUSES))
        text = T("There is no such filter here.") if unknown else detail
        raise cursors.bad_filter([Finding(f"?{name}", "unknown_filter" if unknown else "wrong_value", text)])
    tenant, live = caller().tenant, caller().live
    if cause is not None:
        page = problems.listed(tenant, live, cause=cause, place=cursors.place_asked(), limit=cursors.limit_asked())
        places = {"next": cursors.cursor(page.next), "prev": cursors.cursor(page.prev), "limit": cursors.limit_asked()}
        listed = answer({"data": [_item(each) for each in page.rows], "page": places, "as_of": instant(clock.now())})
        return cursors.paged(listed, page)
    return answer(
        {
            "data": [_group(each) for each in problems.groups(tenant, live)],
            "waiting": [_waiting(each) for each in holdups.holdups(tenant, live)],
            "last_check_at": instant(problems.last_check()),
            "as_of": instant(clock.now()),
        }
    )


@blueprint.post("/problems/<tenant_id>/retry")
@requires("send:confirm")
@idempotent
def retry() -> Response:
    """Send them once more, also through another account. What has moved on is left alone and said."""
    asked = parse(RetryBody, body())
    return answer(
        _decided(deciding.retry(caller(), asked.which(), account_id=asked.account, confirmed=asked.confirmed))
    )


@blueprint.post("/problems/<tenant_id>/close")
@requires("send:confirm")
@idempotent
def close() -> Response:
    """Nobody needs to look at them any more."""
    asked = parse(CloseBody, body())
    return answer(_decided(deciding.close(caller(), asked.which(), asked.note)))


@blueprint.post("/problems/<tenant_id>/reopen")
@requires("send:confirm")
@idempotent
def reopen() -> Response:
    """Back from the archive."""
    asked = parse(WhichBody, body())
    return answer(_decided(deciding.reopen(caller(), asked.which())))


@blueprint.post("/messages/<tenant_id>/<message_id>/retry")
@requires("send:confirm")
@idempotent
def retry_one(message_id: str) -> Response:
    """One message that did not arrive goes into the queue again. 409 when it has moved on, 422 when it may not."""
    asked = parse(OneBody, body())
    by_hand.send_again(caller(), message_id, account_id=asked.account, confirmed=asked.confirmed, live=caller().live)
    return answer(item_of(messages.find(caller().tenant, message_id, live=caller().live)))


def _group(group: Group) -> dict[str, Any]:
    return {
        "cause": group.cause,
        "title": said(group.about.title),
        "what": said(group.about.what),
        "advice": said(group.about.todo),
        "count": group.count,
        "oldest_at": instant(group.oldest),
        "newest_at": instant(group.newest),
    }


def _waiting(held: Holdup) -> dict[str, Any]:
    return {
        "kind": held.kind,
        "id": held.id,
        "title": said(held.title),
        "what": said(held.sentence),
        "count": held.count,
        "oldest_at": instant(held.oldest),
        "next_at": instant(held.next_at),
    }


def _item(item: Item) -> dict[str, Any]:
    message = item.message
    return {
        "message": item_of(item.found),
        "cause": item.problem.cause,
        "at": instant(item.problem.at),
        "error": problem_of(message.error_class, message.error_code) | {"detail": message.error_detail},
    }


def _decided(decided: Decided) -> dict[str, Any]:
    to = language()
    return {
        "done": decided.done,
        "unchanged": decided.unchanged,
        "refused": [
            {"message_id": message_id, "code": refusal.code, "detail": translate(refusal.detail, to)}
            for message_id, refusal in decided.refused.items()
        ],
        "more": decided.more,
    }
