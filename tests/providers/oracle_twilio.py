"""The judges of what we ask of Twilio: its own OpenAPI, and what the paper says beyond it."""

import base64
import json
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from openapi_core.contrib.requests import RequestsOpenAPIRequest
from openapi_core.exceptions import OpenAPIError

from wa_dashboard.providers.base import Provider

from .seen import VARIABLE, Seen, openapi

TWILIO_SPECS = {
    "api.twilio.com": ("twilio_messages.subset.json",),
    "content.twilio.com": ("twilio_content_v1.json", "twilio_content_v2.json"),
    "messaging.twilio.com": ("twilio_messaging_services.subset.json",),
}


def twilio_problems(provider: Provider, seen: Seen) -> list[str]:
    host = urlsplit(seen.url).hostname or ""
    if host not in TWILIO_SPECS:
        return [f"address {seen.url}"]
    keys = provider.keys
    user, password = keys.get("api_key", keys["account_sid"]), keys.get("api_secret", keys["auth_token"])
    proof = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    wrong = [] if seen.headers.get("authorization") == proof else ["authorization"]
    if "/Accounts/" in seen.path and keys["account_sid"] not in seen.path:
        wrong.append("another account's address")
    verdicts = [openapi_problems(seen, name) for name in TWILIO_SPECS[host]]
    return wrong + min(verdicts, key=len) + _paper_problems(seen)


def openapi_problems(seen: Seen, name: str) -> list[str]:
    """What Twilio's OpenAPI says, and every field it does not know (it lets those pass)."""
    raw, api = openapi(name)
    prepared = requests.Request(seen.method, seen.url, headers=dict(seen.headers), data=seen.body.decode()).prepare()
    try:
        api.validate_request(RequestsOpenAPIRequest(prepared))
    except OpenAPIError as problem:
        inner = getattr(problem.__cause__, "schema_errors", None) or [problem.__cause__ or problem]
        return [str(error)[:300] for error in inner]
    operation = _operation(raw, seen)
    known = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}
    found = [f"query {key}" for key in seen.query if key not in known]
    contents = operation.get("requestBody", {}).get("content", {})
    for kind, described in contents.items():
        shape = described["schema"]
        shape = raw["components"]["schemas"][shape["$ref"].rsplit("/", 1)[1]] if "$ref" in shape else shape
        form = kind == "application/x-www-form-urlencoded"
        given = dict(parse_qsl(seen.body.decode(), keep_blank_values=True)) if form else seen.json
        found += [f"unknown field {key}" for key in given if key not in shape["properties"]]
        types = raw["components"]["schemas"].get("types", {}).get("properties", {})
        found += [f"unknown type {key}" for key in ({} if form else given).get("types", {}) if key not in types]
    return found


def _operation(raw: dict[str, Any], seen: Seen) -> dict[str, Any]:
    for path, item in sorted(raw["paths"].items(), key=lambda entry: entry[0].count("{")):
        pattern = re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(path))
        if seen.method.lower() in item and re.fullmatch(pattern, seen.path):
            operation = item[seen.method.lower()]
            shared = item.get("parameters", [])
            return {**operation, "parameters": [*shared, *operation.get("parameters", [])]}
    raise AssertionError(f"the specification let an unknown path pass: {seen.method} {seen.path}")


def _paper_problems(seen: Seen) -> list[str]:
    """What the paper says beyond the specification (contracts.md §2.2, §2.3)."""
    found: list[str] = []
    if seen.method == "POST" and seen.path.endswith("/Messages.json"):
        pairs = parse_qsl(seen.body.decode(), keep_blank_values=True)
        form = dict(pairs)
        if len(pairs) != len(form):
            found.append("a field twice")
        if not re.fullmatch(r"whatsapp:(\+[0-9]{6,15}|[A-Z]{2}\.[A-Za-z0-9.]{1,128})", form.get("To", "")):
            found.append(f"To {form.get('To')}")
        if not ("From" in form or "MessagingServiceSid" in form):
            found.append("no sender")
        if "From" in form and not form["From"].startswith("whatsapp:+"):
            found.append(f"From {form['From']}")
        if "ContentSid" in form and ("Body" in form or "MediaUrl" in form):
            found.append("Body or MediaUrl beside ContentSid: error 63016")
        variables = json.loads(form.get("ContentVariables", "{}"))
        if not all(isinstance(value, str) and value.strip() for value in variables.values()):
            found.append("variables are texts")
        if not re.search(r"[?&]mid=[^&#]+", form.get("StatusCallback", "?mid=x")):
            found.append("nothing in the callback that would bring the receipt back to the message")
        if "_" in (urlsplit(form.get("StatusCallback", "")).hostname or ""):
            found.append("Twilio refuses hosts with _")
    if seen.method in ("POST", "PUT") and re.fullmatch(r"/v1/Content(/HX\w+)?", seen.path):
        used = set(VARIABLE.findall(json.dumps(seen.json["types"])))
        given = seen.json.get("variables", {})
        code = "whatsapp/authentication" in seen.json["types"]
        if not code and used != set(given):
            found.append(f"variables {sorted(given)}, but the text uses {sorted(used)}")
        if sorted(given, key=int) != [str(number) for number in range(1, len(given) + 1)]:
            found.append(f"variables are numbered without gaps: {sorted(given)}")
    if seen.path.endswith("/ApprovalRequests/whatsapp"):
        if not re.fullmatch(r"[a-z0-9_]{1,512}", seen.json.get("name", "")):
            found.append("the name is not WhatsApp's")
        if seen.json.get("category") not in ("UTILITY", "MARKETING", "AUTHENTICATION"):
            found.append(f"category {seen.json.get('category')}")
    return found
