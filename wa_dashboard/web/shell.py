"""What the frame around every page needs to know: who is here, for which organiser, and where one can go."""

from dataclasses import dataclass

from flask import current_app, g, has_request_context, request, url_for

from ..domain.text import T


@dataclass(frozen=True)
class Shell:
    """Facts of one request. Without a sign-in the defaults stand. ``timezone`` is an IANA name."""

    signed_in: bool = False
    tenant_name: str = ""
    user_name: str = ""
    email: str = ""
    test_mode: bool = False
    language: str | None = None
    timezone: str = "Europe/Bucharest"
    see_numbers: bool = False
    shortcuts: bool = True


@dataclass(frozen=True)
class Place:
    """A page that stands in the navigation. ``endpoint`` is the view's; ``also`` are views below it.

    ``short`` is the label for the narrow bar of a phone. ``counts``: the number of open problems stands beside it.
    """

    endpoint: str
    label: T
    icon: str
    also: tuple[str, ...] = ()
    test_only: bool = False
    short: T | None = None
    counts: bool = False


@dataclass(frozen=True)
class Link:
    url: str
    label: T
    short: T
    icon: str
    here: bool
    counts: bool = False


PLACES = (
    Place("web.overview", T("Overview"), "overview"),
    Place("web.messages", T("Messages"), "message", ("web.message",)),
    Place(
        "web.templates",
        T("Templates"),
        "template",
        (
            "web.template",
            "web.new_template",
            "web.add_template",
            "web.edit_template",
            "web.change_template",
            "web.preview_template",
            "web.before_sending",
            "web.template_packs",
        ),
    ),
    Place("web.test_phone", T("Test phone"), "phone", ("web.phone_of",), test_only=True, short=T("Phone")),
    Place(
        "web.problem_groups",
        T("Problems"),
        "alert",
        ("web.problem_cause", "web.problem_archive", "web.decide_problems"),
        counts=True,
    ),
    Place("web.connect", T("Connect your shop"), "plug"),
    Place(
        "web.senders",
        T("Settings"),
        "settings",
        (
            "web.new_sender",
            "web.add_sender",
            "web.sender_keys",
            "web.replace_keys",
            "web.sender_off",
            "web.sender",
            "web.register_webhook",
            "web.going_live",
            "web.go_live",
            "web.failover_order",
            "web.failover_drill",
            "web.limits",
            "web.set_limits",
            "web.limits_effect",
            "web.set_sender_limits",
        ),
    ),
)

NOBODY = Shell()


def shell() -> Shell:
    """The facts of this request, set by whoever checked the sign-in; NOBODY before that."""
    found = g.get("wa_shell") if has_request_context() else None
    return found if isinstance(found, Shell) else NOBODY


def set_shell(facts: Shell) -> None:
    g.wa_shell = facts


def links() -> list[Link]:
    """The navigation of this request, in order; only pages that exist."""
    facts = shell()
    return [
        Link(
            url_for(place.endpoint),
            place.label,
            place.short or place.label,
            place.icon,
            request.endpoint in (place.endpoint, *place.also),
            place.counts and facts.signed_in,
        )
        for place in PLACES
        if place.endpoint in current_app.view_functions and (facts.test_mode or not place.test_only)
    ]
