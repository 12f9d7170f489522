"""Problems: messages that ended badly, by cause, with what can be done; and what only waits, which needs nobody."""

import json
from typing import Any
from urllib.parse import urlencode

from flask import Response, g, redirect, render_template, request, url_for
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response as AnyResponse

from ..domain.causes import CAUSES, about
from ..domain.failures import explain
from ..domain.phone import BadPhone, to_e164
from ..domain.text import T
from ..errors import Conflict, Invalid, NotFound, WaError
from ..models import Message
from ..services import accounts, by_hand, deciding, holdups, problems
from ..services import messages as read
from ..services.accounts import settings
from ..services.deciding import Decided, Which
from ..services.paging import Page, Place, WrongCursor, read_cursor, write_cursor
from ..services.problems import COUNTED_TO, Item
from . import web
from .access import may, me, requires, say_next
from .formats import Count
from .htmx import has, mark_of, render

Answer = AnyResponse | str | tuple[str, int]

PER_PAGE = 50
MOST_CHOSEN = 1000
# Another number can only help where the number was the trouble, or nobody knows.
OTHER_NUMBER = frozenset({"not_on_whatsapp", "unconfirmed", "other"})
NO_SENSE_AGAIN = frozenset({"opted_out_at_provider", "window_closed"})


@web.app_context_processor
def _for_the_navigation() -> dict[str, Any]:
    return {"open_problems": open_problems, "problems_counted_to": COUNTED_TO}


def open_problems() -> int:
    """The number beside the word in the navigation; 0 on pages where nobody's rows may be read."""
    if g.get("wa_entered") is None:
        return 0
    if "wa_open_problems" not in g:
        try:
            g.wa_open_problems = problems.count(me().tenant, me().tenant.live)
        except SQLAlchemyError:  # the page says that the database is away; its frame must not fail over it
            return 0
    return int(g.wa_open_problems)


@web.get("/problems/count")
@requires("see")
def problem_count() -> Response | str:
    """The number alone, as the navigation asks for it; 204 while it is what the page shows."""
    where = "menu" if request.args.get("where") == "menu" else "rail"
    number = open_problems()
    return (
        Response(status=204) if has(str(number)) else render_template("problems/count.html", number=number, where=where)
    )


@web.get("/problems", strict_slashes=False)
@requires("see")
def problem_groups() -> Response | str:
    """A card for each cause, the largest first, and what waits by itself."""
    tenant, live = me().tenant, me().tenant.live
    groups, waiting = problems.groups(tenant, live), holdups.holdups(tenant, live)
    seen = mark_of(groups, waiting)
    if has(seen):
        return Response(status=204)
    return render(
        "problems/inbox.html",
        "problems/groups.html",
        groups=groups,
        waiting=waiting,
        counted_to=holdups.MOST,
        last_check=problems.last_check(),
        can_decide=may("send"),
        no_sense_again=NO_SENSE_AGAIN,
        seen=seen,
    )


@web.get("/problems/cause/<cause>")
@requires("see")
def problem_cause(cause: str) -> str:
    """The messages of one cause, to be chosen from."""
    if cause not in CAUSES:
        raise NotFound(T("There is no such cause."))
    return _cause_page(cause)


@web.get("/problems/archive")
@requires("see")
def problem_archive() -> str:
    """What somebody closed, with the notes."""
    place = _place("archive")
    page = problems.archive(me().tenant, me().tenant.live, place=place, limit=PER_PAGE)
    return render(
        "problems/archive.html",
        "problems/closed.html",
        page=page,
        newer=_link(url_for("web.problem_archive"), "archive", page.prev),
        older=_link(url_for("web.problem_archive"), "archive", page.next),
        causes={item.message.id: about(item.problem.cause) for item in page.rows},
        can_decide=may("send"),
    )


def _cause_page(
    cause: str,
    *,
    refused: dict[str, WaError] | None = None,
    errors: dict[str, str] | None = None,
) -> str:
    tenant, live, name = me().tenant, me().tenant.live, f"cause.{cause}"
    page: Page[Item] = problems.listed(tenant, live, cause=cause, place=_place(name), limit=PER_PAGE)
    if refused:  # these alone, so that each reason is in sight
        page = Page(problems.items_of(list(refused)[:PER_PAGE]), None, None)
    group = next((each for each in problems.groups(tenant, live) if each.cause == cause), None)
    senders = accounts.accounts_of(tenant, live)
    return render(
        "problems/cause.html",
        "problems/items.html",
        cause=cause,
        about=about(cause),
        group=group,
        page=page,
        newer=_link(url_for("web.problem_cause", cause=cause), name, page.prev),
        older=_link(url_for("web.problem_cause", cause=cause), name, page.next),
        senders=[(each.id, each.label) for each in senders] if len(senders) > 1 else [],
        explain=explain,
        refused=refused or {},
        chosen=set(refused or ()),
        errors=errors or {},
        note=request.form.get("note", ""),
        can_decide=may("send"),
        other_number=cause in OTHER_NUMBER,
        again_helps=cause not in NO_SENSE_AGAIN,
        last_check=problems.last_check(),
    )


# --- deciding ---------------------------------------------------------------------------------------------------


@web.post("/problems/decide")
@requires("send")
def decide_problems() -> Answer:
    """Try again, through another sender, close or reopen: chosen messages, or all of a cause.

    What was refused is said beside each message, and the page stays; else on to what is left.
    """
    cause, act = request.form.get("cause", ""), request.form.get("act", "")
    ids = tuple(dict.fromkeys(request.form.getlist("id")))[:MOST_CHOSEN]
    whole = request.form.get("all") == "1" and cause in CAUSES
    if not ids and not whole:
        say_next(T("Choose at least one message."), "warn")
        return _back(cause, act)
    which = Which(me().tenant.live, () if whole else ids, cause if whole else None)
    note = request.form.get("note", "")
    if act == "close":
        decided = deciding.close(me(), which, note)
    elif act == "reopen":
        decided = deciding.reopen(me(), which)
    elif act in ("retry", "through"):
        account = request.form.get("account", "") if act == "through" else None
        if account == "":
            say_next(T("Choose the sender."), "warn")
            return _back(cause, act)
        decided = deciding.retry(me(), which, account_id=account, confirmed=bool(request.form.get("confirmed")))
    else:
        raise NotFound(T("There is nothing at this address."))
    return _after(cause, act, decided)


def _after(cause: str, act: str, decided: Decided) -> Answer:
    if decided.refused and cause in CAUSES:
        text = T("Done: %(done)s. Refused, with the reason beside each: %(refused)s.", done=Count(len(decided.done)),
                 refused=Count(len(decided.refused)))  # fmt: skip
        first = f"no-{next(iter(decided.refused))}"
        return _cause_page(cause, refused=decided.refused, errors={first: text}), 422
    if decided.refused:
        say_next(next(iter(decided.refused.values())).detail, "warn")
    elif decided.done:
        say_next(_done(act, len(decided.done)))
    else:
        say_next(T("Nothing was changed: it had moved on already."), "info")
    if decided.more:
        say_next(T("There are more of them; do the same again for the rest."), "info")
    return _back(cause, act)


def _done(act: str, number: int) -> T:
    if act == "close":
        return T("Closed: %(count)s. They are in the archive.", count=Count(number))
    if act == "reopen":
        return T("Open again: %(count)s.", count=Count(number))
    return T("In the queue again: %(count)s.", count=Count(number))


def _back(cause: str, act: str) -> AnyResponse:
    if act == "reopen":
        return redirect(url_for("web.problem_archive"), code=303)
    groups = problems.groups(me().tenant, me().tenant.live) if cause in CAUSES else []
    if any(group.cause == cause for group in groups) and request.form.get("from") != "groups":
        return redirect(url_for("web.problem_cause", cause=cause), code=303)
    return redirect(url_for("web.problem_groups"), code=303)


@web.post("/messages/<message_id>/through")
@requires("send")
def send_through(message_id: str) -> AnyResponse:
    """One more try for what did not arrive, through the chosen sender."""
    read.find(me().tenant, message_id)
    try:
        by_hand.send_again(
            me(),
            message_id,
            account_id=request.form.get("account") or "none",
            confirmed=bool(request.form.get("confirmed")),
        )
        say_next(T("It is in the queue again."))
    except (Invalid, Conflict) as problem:
        say_next(problem.detail, "warn")
    return redirect(url_for("web.message", message_id=message_id), code=303)


@web.get("/messages/<message_id>/number")
@requires("send")
def change_number(message_id: str) -> Answer:
    """The form for another number."""
    found = read.find(me().tenant, message_id)
    if not by_hand.may_send_again(found.message):
        say_next(T("It is not possible any more: the message has moved on."), "warn")
        return redirect(url_for("web.message", message_id=message_id), code=303)
    return _number_page(found.message, "", {})


@web.post("/messages/<message_id>/number")
@requires("send")
def set_number(message_id: str) -> Answer:
    """Send it to that number."""
    message = read.find(me().tenant, message_id).message
    typed, agreed = request.form.get("phone", "").strip()[:40], request.form.get("agreed") == "1"
    try:
        phone = to_e164(typed, me().tenant.default_country)
        deciding.change_number(me(), message_id, phone, agreed=agreed)
    except BadPhone as problem:
        return _number_page(message, typed, {"phone": problem.detail}), 422
    except Conflict as problem:
        say_next(problem.detail, "warn")
    except Invalid as problem:
        name = problem.findings[0].pointer.strip("/") if problem.findings else "phone"
        return _number_page(message, typed, {name: problem.detail}), 422
    else:
        say_next(T("It is on its way to the new number."))
    return redirect(url_for("web.message", message_id=message_id), code=303)


def _number_page(message: Message, typed: str, errors: dict[str, str]) -> str:
    return render_template(
        "problems/number.html",
        found=read.find(me().tenant, message.id),
        typed=typed,
        errors=errors,
        country=me().tenant.default_country,
    )


# --- page by page -----------------------------------------------------------------------------------------------


def _list_name(name: str) -> str:
    return json.dumps(["web.problems", me().tenant.id, name])


def _place(name: str) -> Place | None:
    try:
        return read_cursor(request.args.get("at", ""), settings().secret_key, _list_name(name))
    except (WrongCursor, ValueError):
        return None


def _link(url: str, name: str, place: Place | None) -> str | None:
    if place is None:
        return None
    return f"{url}?{urlencode({'at': write_cursor(place, settings().secret_key, _list_name(name))})}"
