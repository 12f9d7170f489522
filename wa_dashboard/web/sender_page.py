"""Settings, Providers: one sender whole: what its provider says of it, its webhook, its story and its news."""

from flask import render_template
from werkzeug.wrappers import Response as AnyResponse

from ..domain.health import event_sentence
from ..domain.text import T
from ..errors import Conflict
from ..providers.base import provider_named
from ..services import account_facts, account_story, live_templates
from ..services import senders as verbs
from . import web
from .access import me, requires, say_next
from .sender_lines import lines_of
from .senders import back_to_page, find_card, rights

NEWS = ("news", "unknown_news")


@web.get("/settings/providers/<account_id>")
@requires("see")
def sender(account_id: str) -> str:
    """Everything about one sender."""
    card = find_card(account_id)
    kind = provider_named(card.account.provider)
    return render_template(
        "settings/sender.html",
        card=card,
        kind=kind,
        lines=lines_of(card.account, card.facts),
        news=_news(account_id),
        story=[step for step, event in zip(card.story, card.health.events, strict=True) if event.kind not in NEWS],
        approved=live_templates.approved_at(account_id),
        keys_changed_at=verbs.keys_changed_at(card.account),
        **rights(),
    )


@web.post("/settings/providers/<account_id>/webhook")
@requires("settings")
def register_webhook(account_id: str) -> AnyResponse:
    """Have the provider report to us."""
    try:
        say_next(account_facts.register_webhook(me().actor, account_id))
    except Conflict as problem:
        say_next(problem.detail, "bad")
    return back_to_page(account_id)


def _news(account_id: str) -> list[tuple[object, T, dict[str, object] | None]]:
    """When, what, and for kinds that are new to us what came, as it came."""
    rows = account_story.newest(account_id, NEWS, limit=20)
    return [
        (row.at, event_sentence(row.kind, row.detail or {}), row.detail.get("raw") if row.kind == NEWS[1] else None)
        for row in rows
    ]
