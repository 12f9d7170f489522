"""The lint of buttons and web addresses (T009, T010)."""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from .findings import LONGEST_BUTTON, LONGEST_URL, LintFinding, error, warning
from .rendering import VARIABLE, TemplateText, variables_of
from .text import T

MOST_BUTTONS = 10
MOST_OF_TYPE = {"url": 2, "phone": 1, "copy_code": 1, "otp": 1}
SHORTENERS = frozenset("bit.ly t.co goo.gl tinyurl.com ow.ly is.gd buff.ly cutt.ly rb.gy wa.me".split())
_SHORT_LINK = re.compile(
    r"(?<![\w.])(?:https?://)?(?:" + "|".join(sorted(map(re.escape, SHORTENERS))) + r")/\S*", re.IGNORECASE
)


def buttons(draft: TemplateText) -> Iterator[LintFinding]:
    """T009 and T010."""
    types = [str(button.get("type")) for button in draft.buttons]
    if len(types) > MOST_BUTTONS:
        message = T("There are %(count)s buttons; WhatsApp allows %(most)s.", count=len(types), most=MOST_BUTTONS)
        yield error("T009", "/buttons", message, T("Remove some buttons."))
    for kind, most in MOST_OF_TYPE.items():
        if types.count(kind) > most:
            message = T("There are %(count)s buttons of the type %(type)s; WhatsApp allows %(most)s.",
                        count=types.count(kind), type=kind, most=most)  # fmt: skip
            yield error("T009", "/buttons", message, T("Remove some buttons."))
    quick = [kind == "quick_reply" for kind in types]
    if sum(left != right for left, right in itertools.pairwise(quick)) > 1:
        message = T("Quick replies stand between other buttons.")
        yield error("T009", "/buttons", message, T("Put all quick replies together, first or last."))
    for index, button in enumerate(draft.buttons):
        yield from _button(f"/buttons/{index}", button)


def _button(here: str, button: Mapping[str, Any]) -> Iterator[LintFinding]:
    text, kind = str(button.get("text") or ""), button.get("type")
    if kind == "otp":
        message = T("Only code messages have a button of this type.")
        yield error("T009", f"{here}/type", message, T("Use a button of another type."))
    if kind != "copy_code" and (not text.strip() or len(text) > LONGEST_BUTTON or variables_of(text)):
        message = T("A button says 1 to %(most)s characters, without variables.", most=LONGEST_BUTTON)
        yield error("T009", f"{here}/text", message, T("Write one to three words."))
    if kind == "phone" and not re.fullmatch(r"\+[0-9]{6,15}", str(button.get("phone") or "")):
        message = T("This button needs a phone number with + and the country code.")
        yield error("T009", f"{here}/phone", message, T("Write it such as +40722123456."), _dialled(here, button))
    if kind == "copy_code" and not 1 <= len(str(button.get("example") or "")) <= 15:
        message = T("This button needs an example of the code, 15 characters at most.")
        yield error("T009", f"{here}/example", message, T("Give an example such as EARLY10."))
    if kind == "url":
        yield from _url(f"{here}/url", str(button.get("url") or ""))


def _dialled(here: str, button: Mapping[str, Any]) -> tuple[str, str] | None:
    """The number without what people write into one, where it carries its country."""
    digits = re.sub(r"[\s().-]", "", str(button.get("phone") or ""))
    digits = f"+{digits[2:]}" if digits.startswith("00") else digits
    return (f"{here}/phone", digits) if re.fullmatch(r"\+[0-9]{6,15}", digits) else None


def _url(here: str, url: str) -> Iterator[LintFinding]:
    places = list(VARIABLE.finditer(url))
    host, good = _host(url)
    if not good or len(url) > LONGEST_URL or re.search(r"[\s{}]", VARIABLE.sub("x", url)):
        message = T("This is not a full web address.")
        fix = T("Write an address such as https://tickets.example.org/orders/{order_token}.")
        yield error("T010", here, message, fix, _secure(here, url))
    elif host.lower() in SHORTENERS:
        message = T("WhatsApp refuses shortened links.")
        yield error("T010", here, message, T("Use the full address on your own domain."))
    if places and (len(places) > 1 or places[0].end() != len(url) or places[0].start() <= url.find(host or "//")):
        message = T("An address has one variable at most, at its very end.")
        yield error("T010", here, message, T("Move the variable to the end of the address."))


def _host(url: str) -> tuple[str, bool]:
    """The host, and whether this is an address we know how to open."""
    try:
        parts = urlsplit(VARIABLE.sub("x", url))
        host = parts.hostname or ""
    except ValueError:
        return "", False
    return host, parts.scheme == "https" and "." in host


def _secure(here: str, url: str) -> tuple[str, str] | None:
    """The address with https before it, if that is all it lacks."""
    bare = url.strip()
    fuller = f"https://{bare.removeprefix('http://')}"
    good = _host(fuller)[1] and len(fuller) <= LONGEST_URL and not re.search(r"[\s{}:]", VARIABLE.sub("x", fuller[8:]))
    return (here, fuller) if good and bare else None


def short_links(draft: TemplateText) -> Iterator[LintFinding]:
    """T010 in the text."""
    found = _SHORT_LINK.search(draft.body)
    if found:
        message = T("The text holds a shortened link; WhatsApp often refuses those.")
        yield warning("T010", "/body", message, T("Use the full address on your own domain, best in a button."))
