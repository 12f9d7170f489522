"""Every request an adapter can make, as a table: for each public method that makes one, the ways to call it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import Any

from wa_dashboard.providers.base import (
    Button,
    Header,
    Provider,
    ProviderError,
    TemplateDraft,
    WireRequest,
    provider_named,
)

from .far_end import http, ok, script
from .oracle import problems_of
from .samples import CONTENT_SID, DRAFT, OTP_DRAFT, account, outbound
from .seen import Seen

IMAGE = Header("image", handle="4::aW", link="https://cdn.example.org/h.jpg")
BARE = replace(DRAFT, header=None, footer="", buttons=())
DRAFTS: dict[str, TemplateDraft] = {
    "everything": DRAFT,
    "without buttons": replace(DRAFT, buttons=()),
    "only text": BARE,
    "no variables": TemplateDraft("plain", "ro", "marketing", "Festivalul începe vineri la prânz."),
    "quick replies": replace(BARE, buttons=(Button("quick_reply", "Da", payload="YES"), Button("quick_reply", "Nu"))),
    "phone": replace(BARE, buttons=(Button("phone", "Sună", phone="+40310000000"),)),
    "coupon": replace(BARE, category="marketing", buttons=(Button("copy_code", "Cod", example="VARA26"),)),
    "fixed address": replace(BARE, buttons=(Button("url", "Site", url="https://example.org/program"),)),
    "mixed buttons": replace(
        DRAFT, header=None, buttons=(*DRAFT.buttons, Button("quick_reply", "Altă zi", payload="{{ticket}}"))
    ),
    "picture": replace(DRAFT, header=IMAGE, footer="", buttons=()),
    "picture, footer and buttons": replace(DRAFT, header=IMAGE),
    "document": replace(DRAFT, header=replace(IMAGE, kind="document", link="https://cdn.example.org/bilet.pdf")),
    "video": replace(BARE, header=replace(IMAGE, kind="video", link="https://cdn.example.org/v.mp4")),
    "region": replace(DRAFT, language="en-gb"),
    "lifetime": replace(DRAFT, ttl_seconds=3600),
    "code": OTP_DRAFT,
    "code, least": replace(OTP_DRAFT, buttons=(), code_expiration_minutes=None, ttl_seconds=None),
}
PLACE = replace(BARE, header=Header("location"))
WHERE = {"latitude": "44.4", "longitude": "26.1", "name": "Sala Palatului", "address": "Calea Victoriei 1"}
NONE: dict[str, Any] = {"header_variables": [], "body_variables": [], "button_variables": []}
SENDS: dict[str, dict[str, Any]] = {
    "everything": {},
    "to a user id": {"to": "RO.13491208655302741918"},
    "without a callback": {"status_callback_url": None},
    "a callback with a query": {"status_callback_url": "https://wa.example.org/hook?x=1"},
    "no variables": NONE,
    "numbered variables": {"parameter_map": {"order": "1", "first_name": "1", "event": "2", "ticket": "3"}},
    "fixed payloads": {"button_payloads": {1: "STOP_MKT"}},
    "button values": {"button_variables": [(0, "quick_reply", "ticket"), (1, "copy_code", "order")]},
    "region": {"language": "en-US"},
    "wild values": {
        "parameters": {"first_name": "a\n\tb" + " " * 9 + "c", "event": "&=+%{{1}}\"'", "order": "№ 1", "ticket": "ș/ț"}
    },
    "a code": {
        "template_name": "login_code",
        "parameters": {"code": "123456"},
        **NONE,
        "body_variables": ["code"],
        "button_variables": [(0, "otp", "code")],
        "parameter_map": {"code": "1"},
    },
}
# Twilio's pictures and documents belong to the content, not to the message.
MEDIA_SENDS: dict[str, dict[str, Any]] = {
    f"{kind} by {way}": {"header_variables": [], "header": Header(kind, filename="a.pdf", **{way: value})}  # type: ignore[arg-type]
    for kind in ("image", "video", "document")
    for way, value in (("link", "https://cdn.example.org/h"), ("media_id", "123"))
} | {"a place": {"header_variables": [], "header": Header("location", location=WHERE)}}


@dataclass(frozen=True)
class Call:
    """One way to call a method: ``do`` may return the request it built; ``answers`` are what the far end says, the
    last one for ever. A ProviderError is a fine end: what was asked before it counts."""

    method: str
    name: str
    do: Callable[[Provider], Any]
    answers: list[bytes] = field(default_factory=lambda: [ok({"id": "5461", "sid": CONTENT_SID, "success": True})])
    changed: dict[str, str] = field(default_factory=dict)

    def requests(self, kind: type[Provider]) -> list[Seen]:
        """What the call sent over the wire, and what it built."""
        settings = self._settings(kind)
        with script(chain(self.answers, repeat(self.answers[-1]))) as (base, raws):
            built = None
            with suppress(ProviderError, NotImplementedError):  # a verb this provider does not have sends nothing
                built = self.do(account(kind, base, **settings))
        seen = [Seen.arrived(raw, kind) for raw in raws]
        if isinstance(built, WireRequest):  # built for the far end's address; once more for the official one
            seen.append(Seen.built(self.do(account(kind, **settings))))
        return seen

    def judged(self, kind: type[Provider]) -> list[tuple[Seen, list[str]]]:
        """What the call sent, each with what the judges find wrong with it."""
        provider = account(kind, **self._settings(kind))
        return [(seen, problems_of(provider, seen)) for seen in self.requests(kind)]

    def _settings(self, kind: type[Provider]) -> dict[str, str]:
        known = {credential.name for credential in kind.credentials}
        return {key: value for key, value in self.changed.items() if key in known}


def calls_of(kind: type[Provider]) -> list[Call]:
    """The table of one provider."""
    calls = [*_common(kind)]
    calls += {"meta_cloud": _meta, "dialog360": _dialog360, "twilio": _twilio}[kind.name]()
    return [call for call in calls if hasattr(kind, call.method)]


def _common(kind: type[Provider]) -> Iterator[Call]:
    sends = SENDS if kind.name == "twilio" else SENDS | MEDIA_SENDS
    for name, changed in sends.items():
        yield Call("build_send", name, lambda p, c=changed: p.build_send(outbound(p, **c)))
    drafts = DRAFTS if kind.name == "twilio" else DRAFTS | {"place": PLACE}
    for name, draft in drafts.items():
        yield Call("submit_template", name, lambda p, d=draft: p.submit_template(d))
    yield Call("probe_request", "", lambda p: p.probe_request())
    yield Call("probe", "", lambda p: p.probe())
    yield Call("list_templates", "one page", lambda p: p.list_templates())
    yield Call("register_webhook", "", lambda p: p.register_webhook("https://wa.example.org/api/wa/webhook/abc"))
    yield Call("template_status", "by id", lambda p: p.template_status(CONTENT_SID, "a_name", "ro"))
    yield Call("template_status", "by name", lambda p: p.template_status(None, "a_name", "ro"))
    since = datetime(2026, 11, 23, tzinfo=UTC)
    if not kind.can_look_up:
        yield Call("find_sent", "refused", lambda p: p.find_sent("+40722000001", since))
        yield Call("fetch_message", "refused", lambda p: p.fetch_message("wamid.A"))
    if not getattr(kind, "samples_by_handle", False):
        yield Call("upload_sample", "refused", lambda p: p.upload_sample(b"%PDF-1.7", "application/pdf", "a.pdf"))
    yield Call("facts", "", lambda p: p.facts("https://wa.example.org/api/wa/webhook/abc"))
    for mime in ("image/jpeg", "application/pdf", "video/mp4"):
        yield Call("upload_media", mime, lambda p, m=mime: p.upload_media(b"\x89\r\n--bytes", m))
    if not kind.samples_by_handle:
        yield Call("upload_sample", "refused", lambda p: p.upload_sample(b"%PDF-1.7", "application/pdf", "a.pdf"))


def _meta() -> Iterator[Call]:
    paging = {"cursors": {"after": "QVFI=="}, "next": "https://graph.facebook.com/"}
    row = {"id": "5461", "name": DRAFT.name, "language": "ro", "status": "APPROVED", "category": "UTILITY"}
    pages = [ok({"data": [row], "paging": paging}), ok({"data": []})]
    yield Call("list_templates", "pages", lambda p: p.list_templates(), pages)
    for state in ("APPROVED", "REJECTED"):
        there = [ok({**row, "status": state}), ok({"success": True})]
        yield Call("edit_template", state, lambda p: p.edit_template("5461", DRAFT), there)
    code = ok({**row, "name": OTP_DRAFT.name, "language": "en_US", "status": "PAUSED", "category": "AUTHENTICATION"})
    yield Call("edit_template", "code", lambda p: p.edit_template("5461", OTP_DRAFT), [code, ok({"success": True})])
    yield Call("delete_template", "by id", lambda p: p.delete_template("5461", DRAFT.name, "ro"))
    found = [ok({"data": [row]}), ok({"success": True})]
    yield Call("delete_template", "by name", lambda p: p.delete_template(None, DRAFT.name, "ro"), found)
    yield Call("unpause_template", "", lambda p: p.unpause_template("5461"))
    session = [ok({"id": "upload:MTphdHRhY2htZW50"}), ok({"h": "4::aW"})]
    app = {"app_id": "634974688087057"}
    sample = lambda p: p.upload_sample(b"%PDF-1.7", "application/pdf", "bilet ă.pdf")  # noqa: E731
    yield Call("upload_sample", "", sample, session, app)


def _dialog360() -> Iterator[Call]:
    rows = [{"id": str(n), "name": f"t{n}", "language": "ro", "status": "approved"} for n in range(100)]
    pages = [ok({"waba_templates": rows, "total": 130}), ok({"waba_templates": rows[:30], "total": 130})]
    yield Call("list_templates", "pages", lambda p: p.list_templates(), pages)
    yield Call("edit_template", "refused", lambda p: p.edit_template("1", DRAFT))
    only = [ok({"waba_templates": [{**rows[0], "name": DRAFT.name}]}), ok({"meta": {"success": True}})]
    yield Call("delete_template", "the only language", lambda p: p.delete_template("1", DRAFT.name, "ro"), only)
    yield Call("unpause_template", "refused", lambda p: p.unpause_template("1"))


def _twilio() -> Iterator[Call]:
    for name, keys in {
        "by service": {"from": "", "messaging_service_sid": "MG" + "b" * 32},
        "by both": {"messaging_service_sid": "MG" + "b" * 32},
        "by key": {"api_key": "SK" + "c" * 32, "api_secret": "s3cret"},
    }.items():
        yield Call("build_send", name, lambda p: p.build_send(outbound(p)), changed=keys)
    following = "https://content.twilio.com/v1/ContentAndApprovals?PageSize=100&Page=1&PageToken=DNHX"
    pages = [ok({"contents": [], "meta": {"next_page_url": following}}), ok({"contents": [], "meta": {}})]
    yield Call("list_templates", "pages", lambda p: p.list_templates(), pages)
    resumed = lambda p: p.submit_template(DRAFT, CONTENT_SID)  # noqa: E731
    yield Call("submit_template", "resumed", resumed)
    for state in ("unsubmitted", "approved"):
        there = [ok({"sid": CONTENT_SID, "whatsapp": {"status": state}}), ok({"sid": CONTENT_SID})]
        yield Call("edit_template", state, lambda p: p.edit_template(CONTENT_SID, DRAFT), there)
    bare = [ok({"sid": CONTENT_SID, "whatsapp": {"status": "unsubmitted"}}), ok({"sid": CONTENT_SID})]
    yield Call("edit_template", "no variables", lambda p: p.edit_template(CONTENT_SID, DRAFTS["no variables"]), bare)
    yield Call("delete_template", "by id", lambda p: p.delete_template(CONTENT_SID, DRAFT.name, "ro"), [http(204, b"")])
    row = {"sid": CONTENT_SID, "friendly_name": DRAFT.name, "language": "ro"}
    named = [ok({"contents": [row], "meta": {}}), http(204, b"")]
    yield Call("delete_template", "by name", lambda p: p.delete_template(None, DRAFT.name, "ro"), named)
    yield Call("unpause_template", "refused", lambda p: p.unpause_template(CONTENT_SID))
    sid = "SM" + "d" * 32
    yield Call("fetch_message", "", lambda p: p.fetch_message(sid), [ok({"code": 20404}, 404)])
    since = datetime(2026, 11, 23, tzinfo=UTC)
    more = lambda p: p.find_sent("+40722000001", since)  # noqa: E731
    account_sid = account(provider_named("twilio")).keys["account_sid"]
    uri = f"/2010-04-01/Accounts/{account_sid}/Messages.json?PageSize=100&Page=1&PageToken=PASM"
    yield Call("find_sent", "one page", more, [ok({"messages": []})])
    yield Call("find_sent", "to a user id", lambda p: p.find_sent("RO.1349", since), [ok({"messages": []})])
    yield Call("find_sent", "pages", more, [ok({"messages": [], "next_page_uri": uri}), ok({"messages": []})])
