"""What our adapters make of each collected payload, as lines of text: compared with payloads.txt, file by file."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from wa_dashboard.providers.base import (
    Item,
    Outcome,
    Provider,
    ProviderError,
    SentRecord,
    TemplateAnswer,
    WebhookMalformed,
    WebhookRequest,
    WireReply,
    provider_named,
)

from . import copies, oracle
from .far_end import http, ok, script
from .samples import CONTENT_SID, DRAFT, account

CAME = datetime(2026, 11, 23, 12, tzinfo=UTC)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PROVIDERS = {"meta": "meta_cloud", "dialog360": "dialog360", "twilio": "twilio"}


def lines_of(path: Path) -> list[str]:
    """What comes out of one file; ``(nothing)`` when nothing does, ``failing: …`` when it is not understood."""
    kind = provider_named(PROVIDERS[path.parent.name])
    form, topic, _ = path.stem.split("__", 2)
    reader = _READERS.get(f"{form}__{topic}") or _READERS.get(form)
    if reader is None:
        return ["failing: no reader"]
    try:
        return reader(kind, path) or ["(nothing)"]
    except (AssertionError, KeyError, ValueError, ProviderError) as problem:
        return [f"failing: {type(problem).__name__}: {problem}"]


# --- webhooks -------------------------------------------------------------------------------------------------------


def request_of(path: Path, url: str = "https://wa.example.org/api/wa/webhook/abc") -> WebhookRequest:
    form = path.suffix == ".txt"
    body = path.read_bytes().strip() if form else path.read_bytes()
    return WebhookRequest("POST", url, FORM if form else {"Content-Type": "application/json"}, body, received_at=CAME)


def items_of(kind: type[Provider], path: Path) -> list[Item]:
    return account(kind).parse_webhook(request_of(path))


def _webhook(kind: type[Provider], path: Path) -> list[str]:
    try:
        return [told(item) for item in items_of(kind, path)]
    except WebhookMalformed as problem:
        return [f"malformed: {problem.reason}"]


def told(item: Item) -> str:
    """An item in one line: its kind, its time, and every field that says something, in the order of the class."""
    said = [type(item).__name__.removesuffix("Item").lower()]
    quiet = {"key", "at", "raw"}
    for field in fields(item):
        value = getattr(item, field.name)
        if field.name not in quiet and value is not False and value not in (None, "", ()):
            said.append(f"{field.name}={shown(value)}")
    if item.at != CAME:  # where the provider gives no time, the time it came stands in
        said.append(f"at={shown(item.at)}")
    return " ".join(said)


def shown(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds" if value.microsecond else "seconds").replace("+00:00", "Z")
    if isinstance(value, tuple):
        return "(" + ", ".join("-" if part is None else shown(part) for part in value) + ")"
    text = str(value)
    text = text if len(text) <= 60 else text[:57] + "…"
    return f"“{text}”" if " " in text or not text.isprintable() else text


# --- answers --------------------------------------------------------------------------------------------------------


def outcome(found: Outcome) -> str:
    if found.kind == "accepted":
        return f"accepted {found.external_id}".strip()
    holds = f", holds the {found.holds}" if found.holds else ""
    return f"{found.kind}: {found.error_class} {found.code} of the {found.scope}{holds}"


def _sent(kind: type[Provider], path: Path) -> list[str]:
    status = int(found[1]) if (found := re.search(r"http(\d+)", path.stem)) else 201
    return [outcome(account(kind).read_send(WireReply(status, {}, path.read_bytes())))]


def answer(found: TemplateAnswer) -> str:
    parts = [found.status, f"{found.name}/{found.language}", found.external_id, found.category]
    said = [shown(part) for part in parts if part]
    said += [f"was {found.previous_category}"] if found.previous_category else []
    said += [f"will be {found.announced_category}"] if found.announced_category else []
    said += [f"quality {found.quality}"] if found.quality else []
    said += [f"because {shown(found.rejected_reason)}"] if found.rejected_reason else []
    said += [f"variables {','.join(found.parameter_map)}"] if found.parameter_map else []
    assert found.raw, "nothing is kept of it"
    return " ".join(said)


def record(found: SentRecord) -> str:
    fault = f" {found.fault.code}" if found.fault else ""
    text = f" {shown(found.text)}" if found.text else ""
    return f"message {found.external_id} {found.status}{fault} at={shown(found.at)}{text}"


def asked(kind: type[Provider], do: Callable[[Provider], Any], *answers: bytes) -> Any:
    """What a method makes of these answers, the last one for ever."""
    with script(chain(answers, repeat(answers[-1]))) as (base, _):
        return do(account(kind, base))


def _of_file(
    status: int, do: Callable[[Provider], Any], show: Callable[[Any], Any], *before: Any
) -> Callable[..., list[str]]:
    """A reader: the file is the far end's answer (after ``before``) to a method."""

    def read(kind: type[Provider], path: Path) -> list[str]:
        after = ok({"data": [], "contents": [], "waba_templates": []})  # where the file says that there is more
        found = asked(kind, do, *(ok(data) for data in before), http(status, path.read_bytes()), after)
        return [show(one) for one in found] if isinstance(found, list) else [show(found)]

    return read


THERE = {"id": "5461", "name": DRAFT.name, "language": "ro", "status": "REJECTED", "category": "UTILITY"}


def _template_write(kind: type[Provider], path: Path) -> list[str]:
    if "edit" in path.stem:
        return _of_file(200, lambda p: p.edit_template("5461", DRAFT), answer, THERE)(kind, path)
    return _of_file(201, lambda p: p.submit_template(DRAFT), answer)(kind, path)


def _approval(kind: type[Provider], path: Path) -> list[str]:
    if "createApproval" in path.stem:
        return _of_file(201, lambda p: p.submit_template(DRAFT, CONTENT_SID), answer)(kind, path)
    return _of_file(200, lambda p: p.template_status(CONTENT_SID, "tree_fiddy", "en"), answer)(kind, path)


def _content(kind: type[Provider], path: Path) -> list[str]:
    """Changed, and then sent for approval."""
    waiting = {"sid": CONTENT_SID, "whatsapp": {"status": "unsubmitted"}}
    answers = (ok(waiting), http(200, path.read_bytes()), ok({"status": "received"}, 201))
    return [answer(asked(kind, lambda p: p.edit_template(CONTENT_SID, DRAFT), *answers))]


def _deleted(kind: type[Provider], path: Path) -> list[str]:
    listed = ok({"waba_templates": [THERE]})
    assert (
        asked(kind, lambda p: p.delete_template("5461", DRAFT.name, "ro"), listed, http(200, path.read_bytes())) is None
    )
    return ["deleted"]


def _no_complaint(kind: type[Provider], path: Path) -> list[str]:
    found = account(kind).judged(WireReply(200, {}, path.read_bytes()))
    return [f"an answer without a complaint: {outcome(found)}"]


LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def _found(kind: type[Provider], path: Path) -> list[str]:
    following = {"messages": []}
    answers = (http(200, path.read_bytes()), ok(following))
    found: list[SentRecord] = asked(kind, lambda p: p.find_sent("+40722000001", LONG_AGO), *answers)
    return [record(one) for one in found]


# --- signatures, handshake, requests --------------------------------------------------------------------------------


def _signature(kind: type[Provider], path: Path) -> list[str]:
    vector = json.loads(path.read_bytes())
    secret = {"app_secret": vector["app_secret"]} if "app_secret" in vector else {"auth_token": vector["auth_token"]}
    provider = account(kind, **secret)
    body, form = vector.get("raw_body", "").encode(), list(vector["params"].items()) if "params" in vector else None
    proof = {kind.webhook_header: vector[kind.webhook_header]}
    request = WebhookRequest("POST", vector.get("url", "https://h/"), proof, body, form=form)
    changed = WebhookRequest("POST", request.url + "&x", proof, body + b" ", form=[*(form or ()), ("x", "y")])
    assert provider.verify_webhook(request)
    assert not provider.verify_webhook(changed)
    return ["the signature is right, and wrong for anything else"]


def _handshake(kind: type[Provider], path: Path) -> list[str]:
    target = path.read_text().split()[1]
    (token,) = re.findall(r"hub.verify_token=([^&]+)", target)
    url = f"https://wa.example.org{target}"
    assert account(kind, verify_token="another").challenge(WebhookRequest("GET", url)) is None
    return [f"answered with {account(kind, verify_token=token).challenge(WebhookRequest('GET', url))}"]


def _request(kind: type[Provider], path: Path) -> list[str]:
    """A request of somebody else: right in the judges' eyes, and what our adapter makes of the same wish."""
    if path.suffix == ".txt":
        form = dict(parse_qsl(path.read_text().strip(), keep_blank_values=True))
        return [copies.twilio_verdict(kind, path.read_bytes().strip(), form)]
    body = json.loads(path.read_bytes())
    if "create_template" in path.stem:
        assert oracle.errors("meta_create_template.schema.json", oracle.lower_enums(body)) == []
        return [copies.creation_verdict(body)]
    if "webhook_config" in path.stem:
        assert set(body) == {"url", "headers"}
        return [copies.registration_verdict(kind, body)]
    assert oracle.errors("meta_send_message.schema.json", body) == []
    return [copies.sending_verdict(kind, body)]


_READERS: Mapping[str, Callable[[type[Provider], Path], list[str]]] = {
    "webhook": _webhook,
    "response__send_ok": _sent,
    "response__message_created": _sent,
    "response__error": _sent,
    "response__create_template": _template_write,
    "response__template_write": _template_write,
    "response__delete_template": _deleted,
    "response__list_templates": _of_file(200, lambda p: p.list_templates(), answer),
    "response__template_list": _of_file(200, lambda p: p.list_templates(), answer),
    "response__template_approval": _approval,
    "response__template_content": _content,
    "response__message_fetch": _of_file(200, lambda p: p.fetch_message("SM1"), record),
    "response__message_update": _of_file(200, lambda p: p.fetch_message("SM1"), record),
    "response__message_list": _found,
    "response__account": _no_complaint,
    "response__partner_api_key": _no_complaint,
    "signature": _signature,
    "handshake": _handshake,
    "request": _request,
}
