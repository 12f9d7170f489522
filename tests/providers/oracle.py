"""Judges of our requests that know nothing of our code: the providers' published specifications, the corrected
schemas of the contract papers, and the papers' own tables where nothing is published."""

import json
import re
from collections.abc import Callable, Mapping
from email import message_from_bytes
from email.policy import HTTP
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator

from wa_dashboard.providers.base import Provider

from .oracle_twilio import twilio_problems
from .samples import CONTRACTS, SPECS
from .seen import VARIABLE, Seen, openapi


def problems_of(provider: Provider, seen: Seen) -> list[str]:
    """What is wrong with a request of this account, in the judges' words; nothing when it is right."""
    found = {"meta_cloud": _meta, "dialog360": _dialog360, "twilio": twilio_problems}[provider.name](provider, seen)
    if seen.method in ("GET", "DELETE") and seen.body:
        found.append(f"{seen.method} with a body")
    if seen.body.startswith(b"{") and seen.headers.get("content-type") != "application/json":
        found.append("JSON without its content type")
    return found


# --- Meta, and 360dialog who speaks like Meta ----------------------------------------------------------------------

Check = Callable[[Provider, Seen], list[str]]


@lru_cache
def schema(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((SPECS / name).read_text()))


def lower_enums(value: Any, key: str | None = None) -> Any:
    """Meta takes its enum words in either case; the schema knows them in lower case."""
    if isinstance(value, dict):
        return {name: lower_enums(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [lower_enums(inner) for inner in value]
    words = ("type", "format", "category", "otp_type", "parameter_format")
    return value.lower() if key in words and isinstance(value, str) else value


def errors(name: str, value: Any) -> list[str]:
    return [f"{'/'.join(map(str, e.path))}: {e.message[:200]}" for e in schema(name).iter_errors(value)]


def sends(_: Provider, seen: Seen) -> list[str]:
    return send_problems(seen.json)


def send_problems(body: Any) -> list[str]:
    """The schema, and what the paper says beyond it (contracts.md §1.2)."""
    found = errors("meta_send_message.schema.json", body)
    if found:
        return found
    if ("to" in body) == ("recipient" in body):
        found.append("exactly one of to and recipient")
    if not body.get("to", "+").startswith("+"):
        found.append("to without +: Meta may prepend our own country code")
    if not body.get("biz_opaque_callback_data"):
        found.append("nothing that would bring the receipt back to the message")
    components = body.get("template", {}).get("components", [])
    parameters = [p for c in components if c["type"] in ("header", "body") for p in c["parameters"]]
    texts = [p for p in parameters if p["type"] == "text"]
    if len({"parameter_name" in p for p in texts}) > 1:
        found.append("some parameters have names and some have none")
    for text in [p["text"] for c in components for p in c["parameters"] if p["type"] == "text"]:
        if re.search(r"[\n\r\t]| {5}", text) or not text.strip():
            found.append(f"a parameter WhatsApp refuses: {text!r}")
    places = [c["index"] for c in components if c["type"] == "button"]
    if len(places) != len(set(places)) or not all(isinstance(place, str) and place.isdigit() for place in places):
        found.append(f"button places {places}")
    return found


def creates(_: Provider, seen: Seen) -> list[str]:
    return create_problems(seen.json)


def create_problems(body: Any) -> list[str]:
    """The schema, and what the paper says beyond it (contracts.md §1.3)."""
    body = lower_enums(body)
    found = errors("meta_create_template.schema.json", body)
    if found:
        return found
    parts = {component["type"]: component for component in body["components"]}
    if len(parts) != len(body["components"]):
        found.append("two components of one type")
    if body["category"] == "authentication":
        return found + _authentication_problems(body, parts)
    if body.get("parameter_format") != "named":
        found.append("our variables have names")
    for kind in ("header", "body"):
        part = parts.get(kind, {})
        used = set(VARIABLE.findall(part.get("text", "")))
        samples = part.get("example", {}).get(f"{kind}_text_named_params", [])
        if {sample["param_name"] for sample in samples} != used or not all(s["example"].strip() for s in samples):
            found.append(f"samples of the {kind} are not those of its variables")
        if not all(re.fullmatch(r"[a-z0-9_]+", name) for name in used):
            found.append(f"variables {used}")
    handles = parts.get("header", {}).get("example", {}).get("header_handle", ["x"])
    if len(handles) != 1 or not handles[0]:
        found.append("a media header has one sample")
    return found + _button_problems(parts.get("buttons", {}).get("buttons", []))


def _authentication_problems(body: Any, parts: dict[str, Any]) -> list[str]:
    found = []
    if "text" in parts["body"] or "header" in parts:
        found.append("Meta writes the text of an authentication template itself")
    if [button["type"] for button in parts.get("buttons", {}).get("buttons", [])] != ["otp"]:
        found.append("an authentication template has one code button")
    if not 30 <= body.get("message_send_ttl_seconds", 30) <= 900:
        found.append("an authentication template lives 30 to 900 s")
    return found


def _button_problems(buttons: list[dict[str, Any]]) -> list[str]:
    found = []
    kinds = [button["type"] for button in buttons]
    for kind, most in (("url", 2), ("phone_number", 1), ("copy_code", 1)):
        if kinds.count(kind) > most:
            found.append(f"more than {most} buttons {kind}")
    changes = sum(
        a != b
        for a, b in zip([k == "quick_reply" for k in kinds], [k == "quick_reply" for k in kinds[1:]], strict=False)
    )
    if changes > 1:
        found.append("quick replies stand together")
    for button in buttons:
        names = VARIABLE.findall(button.get("url", ""))
        if names and (names != ["1"] or not button["url"].endswith("{{1}}")):
            found.append(f"an address has one variable {{{{1}}}}, at its end: {button['url']}")
        if names and not all(e.startswith(button["url"].removesuffix("{{1}}")) for e in button["example"]):
            found.append("the sample of an address is another address")
    return found


def edits(_: Provider, seen: Seen) -> list[str]:
    body = seen.json
    extra = sorted(set(body) - {"category", "components", "message_send_ttl_seconds"})
    whole = {"name": "x", "language": "ro", "category": "UTILITY", "parameter_format": "NAMED", **body}
    if any("add_security_recommendation" in component for component in body["components"]):
        whole["category"] = "AUTHENTICATION"
    return [f"{key} cannot be edited" for key in extra] + create_problems(whole)


def asks(*names: str) -> Check:
    """A GET or DELETE with exactly these keys in its query, each once and not empty."""

    def check(_: Provider, seen: Seen) -> list[str]:
        wrong = sorted(set(seen.query) ^ set(names))
        empty = [name for name, values in seen.query.items() if len(values) != 1 or not values[0]]
        return [f"query {name}" for name in wrong + empty]

    return check


def may_ask(*names: str) -> Check:
    return lambda _, seen: [f"query {name}" for name in seen.query if name not in names]


def knows_fields(after: str) -> Check:
    """The fields asked for are among those in the paper's line that begins with ``after``."""

    def check(_: Provider, seen: Seen) -> list[str]:
        wanted = ",".join(seen.query.pop("fields", [])).split(",") if "fields" in seen.query else []
        known = paper_fields(after)
        return [f"field {name}" for name in wanted if name and name not in known] + [
            f"query {name}" for name in seen.query if name not in ("fields", "limit", "name", "status", "after")
        ]

    return check


@lru_cache
def paper_fields(after: str) -> frozenset[str]:
    (found,) = set(re.findall(re.escape(after) + r"\?fields=([a-z_,]+)", (CONTRACTS / "contracts.md").read_text()))
    return frozenset(found.split(","))


def nothing(_: Provider, seen: Seen) -> list[str]:
    return ["a body where none is taken"] if seen.body else []


def has_keys(*names: str, optional: tuple[str, ...] = ()) -> Check:
    def check(_: Provider, seen: Seen) -> list[str]:
        body = seen.json if seen.body else {}
        missing = [f"{name} is missing" for name in names if not body.get(name)]
        return missing + [f"key {key}" for key in body if key not in (*names, *optional)]

    return check


def registers(_: Provider, seen: Seen) -> list[str]:
    """360dialog's address of a webhook: https, no port, no _ in the host (contracts.md §3)."""
    found = has_keys("url", "headers", optional=("override_all",))(_, seen)
    parts = urlsplit(seen.json.get("url", ""))
    if parts.scheme != "https" or parts.port or "_" in (parts.hostname or "_"):
        found.append(f"address {seen.json.get('url')}")
    return found


def uploads(_: Provider, seen: Seen) -> list[str]:
    """A form with a file: messaging_product, type and file, the file's type being the type (contracts.md §1.1)."""
    kind = seen.headers.get("content-type", "")
    message = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + seen.body, policy=HTTP)
    parts: dict[str, Any] = {}
    for part in message.iter_parts() if message.is_multipart() else []:
        parts[part.get_param("name", header="content-disposition")] = part
    if set(parts) != {"messaging_product", "type", "file"}:
        return [f"parts of the form: {sorted(map(str, parts))}"]
    texts = {name: parts[name].get_payload(decode=True) for name in parts}
    found = [] if texts["messaging_product"] == b"whatsapp" else ["messaging_product"]
    if texts["type"].decode() != parts["file"].get_content_type():
        found.append("the file is of another type than the form says")
    if not parts["file"].get_filename() or not texts["file"]:
        found.append("the file has no name or no content")
    return found


def fills_upload(_: Provider, seen: Seen) -> list[str]:
    wrong = [] if seen.headers.get("file_offset") == "0" else ["file_offset"]
    return wrong + ([] if seen.body else ["no bytes"])


# Method, path, judge. {number}, {account} and {app} must be the ids of this very account.
META_DOORS: tuple[tuple[str, str, Check], ...] = (
    ("POST", "{number}/messages", sends),
    ("POST", "{account}/message_templates", creates),
    ("GET", "{account}/message_templates", knows_fields("GET /{WABA_ID}/message_templates")),
    ("DELETE", "{account}/message_templates", asks("name", "hsm_id")),
    ("POST", "{account}/subscribed_apps", has_keys(optional=("override_callback_uri", "verify_token"))),
    ("GET", "{account}/subscribed_apps", may_ask("fields")),
    ("GET", "{account}/phone_numbers", may_ask("fields", "limit", "after")),
    ("POST", "{number}/media", uploads),
    ("POST", "{app}/uploads", asks("file_name", "file_length", "file_type")),
    ("GET", "{number}", knows_fields("GET /{PHONE_NUMBER_ID}")),
    ("GET", "{account}", knows_fields("GET /{WABA_ID}")),
    ("POST", "{template}/unpause", nothing),
    ("POST", "{template}", edits),
    ("GET", "{template}", knows_fields("GET /{WABA_ID}/message_templates")),
    ("POST", "{upload}", fills_upload),
)
# Not in the published subset; named by contracts.md §1.1 and §1.3.
ONLY_IN_THE_PAPER = {"{app}/uploads", "{upload}", "{template}/unpause"}
_META_IDS = {"template": r"[0-9]{1,20}", "upload": r"upload:[^/?]+"}


def meta_doors_published() -> set[tuple[str, str]]:
    """The doors of Meta's own OpenAPI in our notation."""
    names = {"Phone-Number-ID": "number", "WABA-ID": "account", "TEMPLATE_ID": "template", "Media-ID": "media"}
    paths = openapi("meta_cloud_api_v23.subset.json")[0]["paths"]
    doors = set()
    for path, item in paths.items():
        ours = re.sub(r"\{([^}]+)\}", lambda found: "{" + names.get(found[1], found[1]) + "}", path)
        doors |= {(method.upper(), ours.removeprefix("/{Version}/")) for method in item}
    return doors


def _meta(provider: Provider, seen: Seen) -> list[str]:
    found = re.fullmatch(r"https://graph\.facebook\.com/v[0-9]+\.0/(.+?)(\?.*)?", seen.url)
    if found is None:
        return [f"address {seen.url}"]
    keys = provider.keys
    known = {"number": keys["phone_number_id"], "account": keys["waba_id"], "app": keys.get("app_id", "-")}
    token, upload = keys["access_token"], found[1].startswith("upload:")
    wrong = []
    if seen.headers.get("authorization") != (f"OAuth {token}" if upload else f"Bearer {token}"):
        wrong.append("authorization")
    if token in seen.url:
        wrong.append("the token is in the address")
    return wrong + _through(
        META_DOORS, {**{k: re.escape(v) for k, v in known.items()}, **_META_IDS}, provider, seen, found[1]
    )


DIALOG360_DOORS: tuple[tuple[str, str, Check], ...] = (
    ("POST", "messages", sends),
    ("POST", "media", uploads),
    ("POST", "v1/configs/templates", creates),
    ("GET", "v1/configs/templates", may_ask("limit", "offset", "sort", "filters")),
    ("DELETE", "v1/configs/templates/{name}", asks()),
    ("POST", "v1/configs/webhook", registers),
    ("GET", "v1/configs/webhook", asks()),
    ("POST", "waba_webhook", registers),
    ("GET", "waba_webhook", asks()),
)


def _dialog360(provider: Provider, seen: Seen) -> list[str]:
    base = "https://waba-v2.360dialog.io/"
    if not seen.url.startswith(base):
        return [f"address {seen.url}"]
    wrong = [] if seen.headers.get("d360-api-key") == provider.keys["api_key"] else ["D360-API-KEY"]
    if "filters" in seen.query:
        named = json.loads(seen.query["filters"][0])
        wrong += [f"filter {key}" for key in named if not key.startswith("business_templates.")]
    path = urlsplit(seen.url).path.removeprefix("/")
    return wrong + _through(DIALOG360_DOORS, {"name": r"[a-z0-9_]{1,512}"}, provider, seen, path)


def _through(
    doors: tuple[tuple[str, str, Check], ...], ids: Mapping[str, str], provider: Provider, seen: Seen, path: str
) -> list[str]:
    for method, form, check in doors:
        pattern = re.sub(
            r"\{(\w+)\}", lambda found: f"(?:{ids[found[1]]})", re.escape(form).replace(r"\{", "{").replace(r"\}", "}")
        )
        if method == seen.method and re.fullmatch(pattern, path):
            return check(provider, seen)
    return [f"no such door: {seen.method} {path}"]
