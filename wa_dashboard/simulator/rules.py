"""Meta's rules for a new template: refused here with the subcode and the words an author sees.

Limits and subcodes: Meta's template documentation as collected in the project's wire contracts.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from .graph import GraphError, unexpected
from .shape import VARIABLE, variables_of

NAME = re.compile(r"[a-z0-9_]{1,512}\Z")
_NAMED = re.compile(r"[a-z0-9_]+\Z")
CATEGORIES = ("MARKETING", "UTILITY", "AUTHENTICATION")
LANGUAGES = frozenset(
    "af sq ar ar_EG ar_AE ar_LB ar_MA ar_QA az be_BY bn bn_IN bg ca zh_CN zh_HK zh_TW hr cs da prs_AF nl nl_BE en "
    "en_GB en_US en_AE en_AU en_CA en_GH en_IE en_IN en_JM en_MY en_NZ en_QA en_SG en_UG en_ZA et fil fi fr fr_BE "
    "fr_CA fr_CH fr_CI fr_MA ka de de_AT de_CH el gu ha he hi hu id ga it ja kn kk rw_RW ko ky_KG lo lv lt mk ms "
    "ml mr nb ps_AF fa pl pt_BR pt_PT pa ro ru sr si_LK sk sl es es_AR es_CL es_CO es_CR es_DO es_EC es_HN es_MX "
    "es_PA es_PE es_ES es_UY sw sv ta te th tr uk ur uz vi zu".split()
)

_TOP = {
    "name", "category", "language", "parameter_format", "components", "message_send_ttl_seconds",
    "allow_category_change", "sub_category", "cta_url_link_tracking_opted_out", "display_format",
}  # fmt: skip
_FIELDS = {
    "HEADER": {"type", "format", "text", "example"},
    "BODY": {"type", "text", "example", "add_security_recommendation"},
    "FOOTER": {"type", "text", "code_expiration_minutes"},
    "BUTTONS": {"type", "buttons"},
}
_BUTTON_FIELDS = {
    "QUICK_REPLY": {"type", "text"},
    "URL": {"type", "text", "url", "example"},
    "PHONE_NUMBER": {"type", "text", "phone_number"},
    "COPY_CODE": {"type", "text", "example"},
    "OTP": {"type", "otp_type", "text"},
}
_BUTTON_LIMITS = {"URL": 2, "PHONE_NUMBER": 1, "COPY_CODE": 1, "OTP": 1, "QUICK_REPLY": 10}
_TTL = {"AUTHENTICATION": (30, 900), "UTILITY": (30, 43_200), "MARKETING": (43_200, 2_592_000)}

TOO_LONG, HEADER, BODY, FOOTER, RATIO, EDGE = 2388040, 2388047, 2388072, 2388073, 2388293, 2388299


def wrong(subcode: int, title: str, text: str) -> GraphError:
    """A template refused for its content."""
    return GraphError(100, subcode=subcode, user_title=title, user_msg=text)


def check_draft(draft: Any) -> dict[str, Any]:
    """A creation request with enum words in upper case. Raises GraphError."""
    if not isinstance(draft, dict):
        raise GraphError(100, "The request body must be a JSON object.")
    for key in draft:
        if key not in _TOP:
            raise unexpected(key, "message_templates")
    for key in ("name", "category", "language", "components"):
        if key not in draft:
            raise GraphError(100, message=f"(#100) The parameter {key} is required.")
    if not isinstance(draft["name"], str) or not NAME.match(draft["name"]):
        raise GraphError(100, "Param name must match ^[a-z0-9_]{1,512}$.")
    if draft["language"] not in LANGUAGES:
        raise GraphError(100, f"Param language must be a supported language code, not {draft['language']!r}.")
    category = upper(draft["category"])
    if category not in CATEGORIES:
        raise GraphError(100, f"Param category must be one of {{{', '.join(CATEGORIES)}}}.")
    form = upper(draft.get("parameter_format", "POSITIONAL"))
    if form not in ("NAMED", "POSITIONAL"):
        raise GraphError(100, "Param parameter_format must be one of {NAMED, POSITIONAL}.")
    _check_ttl(draft.get("message_send_ttl_seconds"), category)
    components = check_components(draft["components"], category, form)
    return {**draft, "category": category, "parameter_format": form, "components": components}


def upper(value: Any) -> str:
    """Meta takes its enum words in either case."""
    return value.upper() if isinstance(value, str) else ""


def _check_ttl(seconds: Any, category: str) -> None:
    if seconds is None or (seconds == -1 and not isinstance(seconds, bool)):
        return
    low, high = _TTL[category]
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not low <= seconds <= high:
        raise GraphError(100, f"Param message_send_ttl_seconds must be between {low} and {high} for {category}.")


def check_components(
    components: Any, category: str, form: str, *, samples: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Components with enum words in upper case.

    With `samples` (Twilio: one set of named samples for the whole content) variables need a sample there
    instead of an `example` of their own, and positions are counted over the content, not per component.
    Raises GraphError.
    """
    if not isinstance(components, list) or not components:
        raise GraphError(100, "Param components must be a non-empty array.")
    clean: list[dict[str, Any]] = []
    for i, part in enumerate(components):
        kind = upper(part.get("type")) if isinstance(part, dict) else ""
        if kind not in _FIELDS:
            raise GraphError(100, f"Param components[{i}]['type'] must be one of {{{', '.join(_FIELDS)}}}.")
        for key in part:
            if key not in _FIELDS[kind]:
                raise unexpected(key, f"components[{i}]")
        clean.append({**part, "type": kind})
    kinds = [part["type"] for part in clean]
    if len(set(kinds)) != len(kinds):
        raise GraphError(100, "Each component type may appear only once.")
    if "BODY" not in kinds:
        raise wrong(BODY, "Body is missing", "A template needs a body.")
    if category == "AUTHENTICATION":
        return _authentication(clean)
    for part in clean:
        _CHECKS[part["type"]](part, form, samples)
    return clean


def _authentication(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    minutes = None
    for part in parts:
        if "text" in part or part["type"] == "HEADER":
            raise wrong(BODY, "Invalid authentication template", "The text of an authentication template is fixed.")
        if part["type"] == "FOOTER":
            minutes = part.get("code_expiration_minutes")
            if isinstance(minutes, bool) or not isinstance(minutes, int) or not 1 <= minutes <= 90:
                raise GraphError(100, "Param code_expiration_minutes must be between 1 and 90.")
    for part in parts:
        if part["type"] == "BODY":
            advice = " For your security, do not share this code." if part.get("add_security_recommendation") else ""
            out.append({**part, "text": "*{{1}}* is your verification code." + advice,
                        "example": {"body_text": [["123456"]]}})  # fmt: skip
        elif part["type"] == "FOOTER":
            out.append({**part, "text": f"This code expires in {minutes} minutes."})
        else:
            out.append({"type": "BUTTONS", "buttons": [_otp_button(part, minutes)]})
    if out[-1]["type"] != "BUTTONS" and not any(p["type"] == "BUTTONS" for p in out):
        raise GraphError(100, "An authentication template needs an OTP button.")
    return out


def _otp_button(part: dict[str, Any], minutes: int | None) -> dict[str, Any]:
    buttons = part.get("buttons")
    button = buttons[0] if isinstance(buttons, list) and len(buttons) == 1 else None
    if not isinstance(button, dict) or upper(button.get("type")) != "OTP":
        raise GraphError(100, "An authentication template has exactly one OTP button.")
    for key in button:
        if key not in _BUTTON_FIELDS["OTP"]:
            raise unexpected(key, "components['BUTTONS'][0]")
    if upper(button.get("otp_type")) != "COPY_CODE":
        raise GraphError(100, "Param otp_type must be one of {COPY_CODE}.")
    expiry = f"&code_expiration_minutes={minutes}" if minutes else ""
    return {
        "type": "URL",
        "text": button.get("text") or "Copy code",
        "url": f"https://www.whatsapp.com/otp/code/?otp_type=COPY_CODE{expiry}&code=otp{{{{1}}}}",
        "example": ["https://www.whatsapp.com/otp/code/?otp_type=COPY_CODE&code=otp123456"],
    }


def _text(part: dict[str, Any], limit: int, subcode: int) -> str:
    text = part.get("text")
    if not isinstance(text, str) or not text.strip():
        raise wrong(subcode, "Text is missing", f"The {part['type'].lower()} needs a text.")
    if len(text) > limit:
        title = f"{part['type'].capitalize()} is too long"
        raise wrong(TOO_LONG, title, f"The {part['type'].lower()} may have up to {limit} characters.")
    return text


def _check_variables(text: str, form: str, subcode: int, *, contiguous: bool) -> tuple[str, ...]:
    names = variables_of(text)
    if "{{" in VARIABLE.sub("", text) or "}}" in VARIABLE.sub("", text):
        raise wrong(subcode, "Variable is malformed", "A variable is written {{1}} or {{name}}.")
    for name in names:
        if form == "NAMED" and (not _NAMED.match(name) or name.isdigit()):
            raise wrong(subcode, "Variable is malformed", f"{{{{{name}}}}}: lower-case letters, digits and _ only.")
        if form == "POSITIONAL" and not name.isdigit():
            raise wrong(subcode, "Variable is malformed", f"{{{{{name}}}}} is not a number.")
    if form == "POSITIONAL" and contiguous and [int(n) for n in names] != list(range(1, len(names) + 1)):
        raise wrong(subcode, "Variables are not in sequence", "Variables are {{1}}, {{2}} … without gaps.")
    return names


def _check_samples(
    part: dict[str, Any], names: tuple[str, ...], form: str, where: str, subcode: int, samples: dict[str, str] | None
) -> None:
    if not names:
        return
    if samples is not None:
        given = [name for name in names if samples.get(name)]
    else:
        given = _own_samples(part.get("example"), form, where)
    complete = sorted(given) == sorted(names) if form == "NAMED" or samples is not None else len(given) == len(names)
    if not complete:
        raise wrong(subcode, "Sample is missing", f"Every variable of the {where} needs one sample.")


def _own_samples(example: Any, form: str, where: str) -> list[str]:
    if not isinstance(example, dict):
        return []
    if form == "NAMED":
        rows = example.get(f"{where}_text_named_params")
        return [
            str(row.get("param_name"))
            for row in (rows if isinstance(rows, list) else [])
            if isinstance(row, dict) and row.get("example")
        ]
    values = example.get(f"{where}_text")
    if where == "body":
        values = values[0] if isinstance(values, list) and len(values) == 1 else None
    return [v for v in values if isinstance(v, str) and v] if isinstance(values, list) else []


def _header(part: dict[str, Any], form: str, samples: dict[str, str] | None) -> None:
    part["format"] = upper(part.get("format"))
    if part["format"] == "LOCATION":
        return
    if part["format"] in ("IMAGE", "VIDEO", "DOCUMENT"):
        handles = part.get("example", {}).get("header_handle") if isinstance(part.get("example"), dict) else None
        if samples is None and not (isinstance(handles, list) and handles):
            raise wrong(HEADER, "Sample is missing", "A media header needs a sample file (header_handle).")
        return
    if part["format"] != "TEXT":
        raise GraphError(100, "Param format must be one of {TEXT, IMAGE, VIDEO, DOCUMENT, LOCATION}.")
    text = _text(part, 60, HEADER)
    own = VARIABLE.sub("", text)
    if "\n" in text or any(c in own for c in "*_~`") or any(ord(c) > 0x1F000 for c in own):
        raise wrong(HEADER, "Invalid header", "A header has no line breaks, formatting, emoji or asterisks.")
    names = _check_variables(text, form, HEADER, contiguous=samples is None)
    if len(names) > 1:
        raise wrong(HEADER, "Invalid header", "A header has at most one variable.")
    _check_samples(part, names, form, "header", HEADER, samples)


def _body(part: dict[str, Any], form: str, samples: dict[str, str] | None) -> None:
    text = _text(part, 1024, BODY)
    names = _check_variables(text, form, BODY, contiguous=samples is None)
    places = VARIABLE.findall(text)
    bare = text.strip()
    if bare.startswith("{{") or bare.endswith("}}"):
        raise wrong(EDGE, "Variable at the edge", "Variables can't be at the start or end of the template.")
    if re.search(r"\}\}\s*\{\{", text):
        raise wrong(BODY, "Variables side by side", "Two variables need words between them.")
    words = len(re.findall(r"\w+", VARIABLE.sub(" ", text)))
    if places and words < 2 * len(places):
        raise wrong(RATIO, "Too many variables", "This template has too many variables for its length.")
    _check_samples(part, names, form, "body", BODY, samples)


def _footer(part: dict[str, Any], _form: str, _samples: dict[str, str] | None) -> None:
    if "{{" in _text(part, 60, FOOTER):
        raise wrong(FOOTER, "Invalid footer", "A footer has no variables.")
    if "code_expiration_minutes" in part:
        raise unexpected("code_expiration_minutes", "components['FOOTER']")


def _buttons(part: dict[str, Any], _form: str, samples: dict[str, str] | None) -> None:
    buttons = part.get("buttons")
    if not isinstance(buttons, list) or not 1 <= len(buttons) <= 10:
        raise GraphError(100, "Param buttons must hold 1 to 10 buttons.")
    kinds: list[str] = []
    for i, button in enumerate(buttons):
        kind = upper(button.get("type")) if isinstance(button, dict) else ""
        if kind not in _BUTTON_FIELDS or kind == "OTP":
            raise GraphError(100, f"Param buttons[{i}]['type'] is not a supported button type.")
        for key in button:
            if key not in _BUTTON_FIELDS[kind]:
                raise unexpected(key, f"components['BUTTONS']['buttons'][{i}]")
        button["type"] = kind
        _button(button, i, samples)
        kinds.append(kind)
    for kind, limit in _BUTTON_LIMITS.items():
        if kinds.count(kind) > limit:
            raise GraphError(100, f"A template has at most {limit} {kind} button(s).")
    groups = [kind == "QUICK_REPLY" for kind in kinds]
    if sum(1 for a, b in pairwise(groups) if a != b) > 1:
        raise GraphError(100, "Quick reply buttons must be grouped together.")


def _button(button: dict[str, Any], index: int, samples: dict[str, str] | None) -> None:
    kind, text = button["type"], button.get("text")
    if kind != "COPY_CODE" and (not isinstance(text, str) or not 1 <= len(text) <= 25 or "{{" in text):
        raise GraphError(100, f"Param buttons[{index}]['text'] must have 1 to 25 characters and no variables.")
    if kind == "PHONE_NUMBER" and not re.fullmatch(r"\+?\d{5,19}", str(button.get("phone_number", ""))):
        raise GraphError(100, f"Param buttons[{index}]['phone_number'] must have up to 20 digits.")
    example = button.get("example")
    if kind == "COPY_CODE":
        code = example[0] if isinstance(example, list) and len(example) == 1 else example
        if not isinstance(code, str) or not 1 <= len(code) <= 20:
            raise GraphError(100, f"Param buttons[{index}]['example'] must have 1 to 20 characters.")
    if kind != "URL":
        return
    url = button.get("url")
    if not isinstance(url, str) or not re.match(r"https?://[^\s{}]+", url) or len(url) > 2000:
        raise GraphError(100, f"Param buttons[{index}]['url'] must be a URL of up to 2000 characters.")
    places = VARIABLE.findall(url)
    if not places:
        return
    if len(places) > 1 or not url.endswith("}}"):
        raise GraphError(100, f"Param buttons[{index}]['url'] may have one variable, at its end.")
    if samples is None and not (isinstance(example, str) or (isinstance(example, list) and len(example) == 1)):
        raise GraphError(100, f"Param buttons[{index}]['example'] is required for a URL with a variable.")


_CHECKS = {"HEADER": _header, "BODY": _body, "FOOTER": _footer, "BUTTONS": _buttons}
