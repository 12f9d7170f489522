"""What WhatsApp would refuse in a template, said before it is sent (api.md §5.1; limits: contracts.md §1.3).

An error means the provider refuses; a warning means it may, or that it may cost more than expected.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from .rendering import VARIABLE, TemplateText, all_variables, clean_value, header_text, variables_of
from .text import T

LONGEST_BODY, LONGEST_HEADER, LONGEST_FOOTER, LONGEST_BUTTON, LONGEST_URL = 1024, 60, 60, 25, 2000
MOST_BUTTONS = 10
MOST_OF_TYPE = {"url": 2, "phone": 1, "copy_code": 1, "otp": 1}
HEADER_FORMATS = ("text", "image", "video", "document", "location")
BUTTON_TYPES = ("url", "quick_reply", "phone", "copy_code", "otp")
CATEGORY_OF = {"order_confirm": "utility", "reminder": "utility", "promo": "marketing", "otp": "authentication"}

# Meta's supported languages for message templates.
LANGUAGES = frozenset(
    "af sq ar ar_AE ar_EG ar_LB ar_MA ar_QA az be_BY bg bn bn_IN ca cs da de de_AT de_CH el en en_AE en_AU en_CA en_GB"
    " en_GH en_IE en_IN en_JM en_MY en_NZ en_QA en_SG en_UG en_US en_ZA es es_AR es_CL es_CO es_CR es_DO es_EC es_ES"
    " es_HN es_MX es_PA es_PE es_UY et fa fi fil fr fr_BE fr_CA fr_CH fr_CI fr_MA ga gu ha he hi hr hu id it ja ka kk"
    " kn ko ky_KG lo lt lv mk ml mr ms nb nl nl_BE pa pl prs_AF ps_AF pt_BR pt_PT ro ru rw_RW si_LK sk sl sq sr sv sw"
    " ta te th tr uk ur uz vi zh_CN zh_HK zh_TW zu".split()
)

_NAME = re.compile(r"[a-z0-9_]{1,512}\Z")
_ADJACENT = re.compile(r"\}\s*\{")
_WORD = re.compile(r"\w+")
_SHORTENERS = frozenset("bit.ly t.co goo.gl tinyurl.com ow.ly is.gd buff.ly cutt.ly rb.gy wa.me".split())
_PROMOTIONAL = re.compile(
    r"\b(?:discount|sale|offers?|promo\w*|free|win|voucher|coupon|reducer\w*|ofert\w*|promoți\w*|promoti\w*|gratuit\w*"
    r"|gratis|câștig\w*|castig\w*|voucher\w*)\b|\d ?%",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class LintFinding:
    """One thing to mend. ``pointer``: JSON pointer into the template; ``fix``: what to do about it."""

    rule: str
    level: Literal["error", "warning"]
    pointer: str
    message: T
    fix: T


def lint(draft: TemplateText) -> list[LintFinding]:
    """Everything to mend in the template, in the order of its parts."""
    authentication = draft.category == "authentication"
    checks = [_name, _language, _variables, _signals] if authentication else _EVERY_CHECK
    return [finding for check in checks for finding in check(draft)]


def has_errors(findings: list[LintFinding]) -> bool:
    return any(finding.level == "error" for finding in findings)


def promotional_words(draft: TemplateText) -> list[str]:
    """Words that make Meta read a text as marketing, as they stand in it, each once."""
    texts = " \n ".join([header_text(draft), VARIABLE.sub(" ", draft.body)])
    return list(dict.fromkeys(found.lower() for found in _PROMOTIONAL.findall(texts)))


def _error(rule: str, pointer: str, message: T, fix: T) -> LintFinding:
    return LintFinding(rule, "error", pointer, message, fix)


def _name(draft: TemplateText) -> Iterator[LintFinding]:
    if not _NAME.match(draft.name):
        suggestion = _as_name(draft.name)
        yield _error(
            "T001",
            "/name",
            T("A template's name has 1 to 512 small letters, digits and underscores."),
            T("Call it %(name)s.", name=suggestion) if suggestion else T("Call it for example order_confirm."),
        )


def _as_name(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:512]


def _language(draft: TemplateText) -> Iterator[LintFinding]:
    if draft.language in LANGUAGES:
        return
    base, _, country = draft.language.replace("-", "_").partition("_")
    guess = next((code for code in (f"{base.lower()}_{country.upper()}", base.lower()) if code in LANGUAGES), None)
    yield _error(
        "T013",
        "/language",
        T("%(code)s is not a language code of WhatsApp's.", code=draft.language[:20]),
        T("Use %(code)s.", code=guess) if guess else T("Use a code such as ro, en or en_GB."),
    )


def _header(draft: TemplateText) -> Iterator[LintFinding]:
    text = header_text(draft)
    if (draft.header or {}).get("format") != "text":
        return
    here = "/header/text"
    if not text.strip() or wire_length(text) > LONGEST_HEADER:
        message = T("The header has %(count)s of 1 to %(most)s characters.", count=len(text), most=LONGEST_HEADER)
        yield _error("T003", here, message, T("Keep the header short; the rest belongs into the text."))
    if len(VARIABLE.findall(text)) > 1:
        yield _error(
            "T003", here, T("A header has one variable at most."), T("Move the other variables into the text.")
        )
    bare = VARIABLE.sub("", text)
    if any(mark in bare for mark in "*_~`\n\r\t") or any(map(_is_emoji, bare)):
        message = T("A header has no emoji, no *bold* or other marks and no line break.")
        yield _error("T003", here, message, T("Write plain words in one line."))
    yield from _braces(text, here)


def _is_emoji(letter: str) -> bool:
    point = ord(letter)
    return point >= 0x1F000 or 0x2600 <= point <= 0x27BF or point in (0x200D, 0x20E3, 0xFE0F, 0x2B50, 0x2B55)


def wire_length(text: str) -> int:
    """How long the text is where the limit counts: the provider's variables have two more braces than ours."""
    return len(text) + 2 * len(VARIABLE.findall(text))


def _body(draft: TemplateText) -> Iterator[LintFinding]:
    length = wire_length(draft.body)
    if not draft.body.strip() or length > LONGEST_BODY:
        message = T("The text has %(count)s of 1 to %(most)s characters.", count=length, most=LONGEST_BODY)
        fix = T("Write the text.") if not draft.body.strip() else T("Shorten the text.")
        yield _error("T002", "/body", message, fix)
    bare = draft.body.strip()
    places = list(VARIABLE.finditer(bare))
    if places and (places[0].start() == 0 or places[-1].end() == len(bare)):
        message = T("The text begins or ends with a variable.")
        yield _error("T005", "/body", message, T("Put a word or a full stop before the first and after the last one."))
    if any(not bare[left.end() : right.start()].strip() for left, right in itertools.pairwise(places)):
        message = T("Two variables stand side by side.")
        yield _error("T006", "/body", message, T("Put a word between the two."))
    yield from _braces(draft.body, "/body")
    if places and len(_WORD.findall(VARIABLE.sub(" ", bare))) < 2 * len(places):
        message = T("The text has many variables for so few words; WhatsApp often refuses that.")
        yield LintFinding("T011", "warning", "/body", message, T("Write a few more words around the variables."))


def _braces(text: str, pointer: str) -> Iterator[LintFinding]:
    rest = VARIABLE.sub("", text)
    if "{" in rest or "}" in rest:
        message = T("A curly bracket is not part of a variable. Numbered variables such as {1} have no meaning here.")
        yield _error("T008", pointer, message, T("Write variables by name, such as {first_name}."))


def _footer(draft: TemplateText) -> Iterator[LintFinding]:
    if draft.footer is None or draft.footer == "":
        return
    if not draft.footer.strip() or len(draft.footer) > LONGEST_FOOTER:
        message = T(
            "The footer has %(count)s of 1 to %(most)s characters.", count=len(draft.footer), most=LONGEST_FOOTER
        )
        yield _error("T004", "/footer", message, T("Shorten the footer."))
    if "{" in draft.footer or "}" in draft.footer:
        yield _error("T004", "/footer", T("A footer has no variables."), T("Move the variable into the text."))


def _variables(draft: TemplateText) -> Iterator[LintFinding]:
    used = all_variables(draft)
    for name in used:
        if not str(draft.examples.get(name) or "").strip():
            message = T("The variable %(name)s has no example.", name=name)
            yield _error("T007", f"/examples/{name}", message, T("Give an example of what will stand there."))
    for name, value in draft.examples.items():
        pointer = f"/examples/{_escaped(name)}"
        if _breaks_line(value):
            message = T("An example holds a line break, a tab or more than four spaces in a row.")
            yield _error("T012", pointer, message, T("Write it in one line: %(text)s", text=clean_value(value)[:80]))
        elif name not in used:
            message = T("There is no variable %(name)s in the template.", name=name[:64])
            yield LintFinding("T007", "warning", pointer, message, T("Remove the example or use the variable."))


def _breaks_line(value: str) -> bool:
    return any(mark in value for mark in "\n\r\t\v\f\x85\u2028\u2029") or " " * 5 in value


def _escaped(name: str) -> str:
    return name[:80].replace("~", "~0").replace("/", "~1")


def _buttons(draft: TemplateText) -> Iterator[LintFinding]:
    types = [str(button.get("type")) for button in draft.buttons]
    if len(types) > MOST_BUTTONS:
        message = T("There are %(count)s buttons; WhatsApp allows %(most)s.", count=len(types), most=MOST_BUTTONS)
        yield _error("T009", "/buttons", message, T("Remove some buttons."))
    for kind, most in MOST_OF_TYPE.items():
        if types.count(kind) > most:
            message = T("There are %(count)s buttons of the type %(type)s; WhatsApp allows %(most)s.",
                        count=types.count(kind), type=kind, most=most)  # fmt: skip
            yield _error("T009", "/buttons", message, T("Remove some buttons."))
    quick = [kind == "quick_reply" for kind in types]
    if sum(left != right for left, right in itertools.pairwise(quick)) > 1:
        message = T("Quick replies stand between other buttons.")
        yield _error("T009", "/buttons", message, T("Put all quick replies together, first or last."))
    for index, button in enumerate(draft.buttons):
        yield from _button(f"/buttons/{index}", button)


def _button(here: str, button: Mapping[str, Any]) -> Iterator[LintFinding]:
    text, kind = str(button.get("text") or ""), button.get("type")
    if kind == "otp":
        message = T("Only code messages have a button of this type.")
        yield _error("T009", f"{here}/type", message, T("Use a button of another type."))
    if kind != "copy_code" and (not text.strip() or len(text) > LONGEST_BUTTON or variables_of(text)):
        message = T("A button says 1 to %(most)s characters, without variables.", most=LONGEST_BUTTON)
        yield _error("T009", f"{here}/text", message, T("Write one to three words."))
    if kind == "phone" and not re.fullmatch(r"\+[0-9]{6,15}", str(button.get("phone") or "")):
        message = T("This button needs a phone number with + and the country code.")
        yield _error("T009", f"{here}/phone", message, T("Write it such as +40722123456."))
    if kind == "copy_code" and not 1 <= len(str(button.get("example") or "")) <= 15:
        message = T("This button needs an example of the code, 15 characters at most.")
        yield _error("T009", f"{here}/example", message, T("Give an example such as EARLY10."))
    if kind == "url":
        yield from _url(f"{here}/url", str(button.get("url") or ""))


def _url(here: str, url: str) -> Iterator[LintFinding]:
    places = list(VARIABLE.finditer(url))
    bare = VARIABLE.sub("x", url)
    try:
        parts = urlsplit(bare)
        host, good = (parts.hostname or ""), parts.scheme == "https" and "." in (parts.hostname or "")
    except ValueError:
        host, good = "", False
    if not good or len(url) > LONGEST_URL or re.search(r"[\s{}]", bare):
        message = T("This is not a full web address.")
        yield _error(
            "T010", here, message, T("Write an address such as https://tickets.example.org/orders/{order_token}.")
        )
    elif host.lower() in _SHORTENERS:
        message = T("WhatsApp refuses shortened links.")
        yield _error("T010", here, message, T("Use the full address on your own domain."))
    if places and (len(places) > 1 or places[0].end() != len(url) or places[0].start() <= url.find(host or "//")):
        message = T("An address has one variable at most, at its very end.")
        yield _error("T010", here, message, T("Move the variable to the end of the address."))


def _signals(draft: TemplateText) -> Iterator[LintFinding]:
    if draft.category == "marketing":
        return
    words = promotional_words(draft)
    if words:
        message = T("Words such as “%(words)s” make WhatsApp read this as advertising, which costs more.",
                    words=", ".join(words[:3]))  # fmt: skip
        fix = T("Say it without advertising, or make it a promotion.")
        yield LintFinding("T014", "warning", "/body", message, fix)


def _exit(draft: TemplateText) -> Iterator[LintFinding]:
    if draft.category != "marketing":
        return
    words = [draft.body, draft.footer or "", *(str(button.get("text") or "") for button in draft.buttons)]
    if not re.search(r"\bstop\b|dezabon|unsubscribe|renunț|opt.?out", " ".join(words), re.IGNORECASE):
        message = T("A promotion must say how to stop such messages.")
        yield LintFinding("T017", "warning", "/footer", message, T("Write into the footer: Reply STOP to stop."))


_EVERY_CHECK = [_name, _language, _header, _body, _footer, _variables, _buttons, _signals, _exit]
