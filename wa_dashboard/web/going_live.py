"""Settings, Going live: what must hold before messages reach people, and the switch."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from ..domain.text import T
from ..errors import Conflict, Invalid
from ..services import going_live as verbs
from ..services import live_templates
from ..services.going_live import Checklist, Point
from . import web
from .access import may, me, requires, say_next
from .sender_keys import wrong_password


@dataclass(frozen=True)
class Line:
    """A point with the way to do it. ``next``: the first that is open."""

    point: Point
    url: str | None
    action: T | None
    post: bool = False
    next: bool = False


@web.get("/settings/live")
@requires("see")
def going_live() -> str:
    """The list; each point ticks itself."""
    return _page({})


@web.post("/settings/live")
@requires("keys")
def go_live() -> AnyResponse | tuple[str, int]:
    """Live, or back to test mode; the owner says again who they are."""
    errors = wrong_password()
    if errors:
        return _page(errors), 422
    on = request.form.get("live") == "1"
    try:
        changed = verbs.go_live(me().tenant, me().actor) if on else verbs.back_to_test(me().tenant, me().actor)
    except Conflict as problem:
        return _page({"": problem.detail}), 422
    if on:
        say_next(T("You are live: messages reach people from now on."), "good" if changed else "info")
    else:
        say_next(T("Back in test mode: live keys are refused from now on."), "good" if changed else "info")
    return redirect(url_for("web.going_live"), code=303)


@web.post("/settings/live/templates")
@requires("templates")
def submit_live_templates() -> AnyResponse:
    """Send the organisation's texts to its live senders for approval."""
    try:
        count = live_templates.submit(me().tenant, me().actor)
        say_next(T("Sent for approval: %(count)s texts.", count=count) if count else T("All were sent there already."))
    except Invalid as problem:
        say_next(problem.detail, "bad")
    return redirect(url_for("web.going_live"), code=303)


def _page(errors: Mapping[str, str]) -> str:
    tenant = me().tenant
    found = verbs.checklist(tenant)
    return render_template(
        "settings/live.html",
        found=found,
        lines=_lines(found),
        live=tenant.live,
        out=verbs.still_out(tenant) if tenant.live else None,
        key_line=f"python3 app.py api-key-create --tenant {tenant.id} --live",
        can_change=may("keys"),
        errors=errors,
    )


def _lines(found: Checklist) -> list[Line]:
    """Each point with its link, where this person may follow it."""
    first = next((each for each in found.points if not each.done and (each.must or found.ready)), None)
    return [_line(each, found, next=each is first) for each in found.points]


def _line(point: Point, found: Checklist, *, next: bool) -> Line:  # noqa: A002 - what the page calls it
    if point.done or (found.sender is None and point.sentence == verbs.NO_SENDER_YET):
        return Line(point, None, None, next=next)
    page = url_for("web.sender", account_id=found.sender.id) if found.sender else None
    ways: dict[str, tuple[str, str | None, T]] = {
        "sender": ("keys", page or url_for("web.new_sender", mode="live"),
                   T("Open the sender") if page else T("Connect your number")),
        "webhook": ("settings", page, T("Set up the webhook")),
        "quality": ("see", page, T("Open the sender")),
        "template": ("templates", url_for("web.submit_live_templates"), T("Send them for approval")),
        "message": ("send", url_for("web.send_test", mode="live"), T("Send yourself a test")),
        "wording": ("see", url_for("web.connect"), T("Show how")),
        "limits": ("settings", url_for("web.limits"), T("Set limits")),
        "key": ("see", url_for("web.going_live", _anchor="key"), T("Show how")),
    }  # fmt: skip
    need, url, action = ways[point.key]
    if url is None or not may(need):
        return Line(point, None, None, next=next)
    return Line(point, url, action, post=point.key == "template", next=next)
