"""The lint of what a template says: advertising, the way out, code messages, variables nobody fills (T014, T015, T017,
T023–T025)."""

import re
from collections.abc import Iterator
from typing import Any

from .findings import CATEGORY_OF, LintFinding, error, hint, warning
from .rendering import VARIABLE, TemplateText, all_variables, filled, header_text, variables_of
from .text import T
from .variables import VARIABLES, meant, misspelt
from .wording import CODE_BODY, CODE_FOOTER, STOP_PROMO, spoken

CODE_LIFE_MINUTES = 10
TTL = {"authentication": (30, 900), "utility": (30, 43_200), "marketing": (43_200, 2_592_000)}  # seconds

_EVERYWHERE = r"promo\w*|vouchers?|voucher\w*|cupon\w*|early.bird|black friday|vip"
_ROMANIAN = (
    r"reducer\w*|ofert\w*|promoți\w*|promoti\w*|gratuit\w*|gratis|câștig\w*|castig\w*|ieftin\w*|preț redus"
    r"|pret redus|profită|profita de|nu rata|ultimele bilete|ultimele locuri|cumpără acum"
)
_ENGLISH = (
    r"discounts?|sale|offers?|(?<!feel )free|win|coupons?|deals?|cheaper|lower price|buy now|shop now|don't miss"
    r"|do not miss|hurry|last tickets|limited time"
)
_PERCENT = r"\d{1,6}(?:[.,]\d{1,3})? ?%"
_ADVERTISING = {
    "ro": re.compile(rf"\b(?:{_EVERYWHERE}|{_ROMANIAN})\b|{_PERCENT}", re.IGNORECASE),
    "en": re.compile(rf"\b(?:{_EVERYWHERE}|{_ENGLISH})\b|{_PERCENT}", re.IGNORECASE),
}
_EXIT = re.compile(r"\bstop\b|dezabon|unsubscribe|renunț|renunt|opt.?out", re.IGNORECASE)
_LINK = re.compile(r"https?://|www\.", re.IGNORECASE)


def promotional_words(draft: TemplateText) -> list[str]:
    """Words that make Meta read a text as marketing, as they stand in it, each once; Meta reads the samples as well."""
    texts = " \n ".join(VARIABLE.sub(" ", filled(part, draft.examples)) for part in (header_text(draft), draft.body))
    codes = ["{discount_code}"] if "discount_code" in variables_of(draft.body) else []
    words = _ADVERTISING[spoken(draft.language) or "en"].findall(texts)
    return list(dict.fromkeys([*(found.lower() for found in words), *codes]))


def signals(draft: TemplateText) -> Iterator[LintFinding]:
    """T014."""
    if draft.category == "marketing":
        return
    words = promotional_words(draft)
    if words:
        message = T("Words such as “%(words)s” make WhatsApp read this as advertising, which costs more.",
                    words=", ".join(words[:3]))  # fmt: skip
        yield warning("T014", "/body", message, T("Say it without advertising, or make it a promotion."))


def way_out(draft: TemplateText) -> Iterator[LintFinding]:
    """T017."""
    if draft.category != "marketing":
        return
    words = [draft.body, draft.footer or "", *(str(button.get("text") or "") for button in draft.buttons)]
    if not _EXIT.search(" ".join(words)):
        message = T("A promotion must say how to stop such messages.")
        tongue = spoken(draft.language)
        mend = ("/footer", STOP_PROMO[tongue]) if tongue and not (draft.footer or "").strip() else None
        yield warning("T017", "/footer", message, T("Write into the footer: Reply STOP to stop."), mend)


def code_words(draft: TemplateText) -> Iterator[LintFinding]:
    """T015: the words of a code message are Meta's, the same for everybody."""
    if draft.header:
        message = T("A code message has no header: no title, no picture, no file.")
        yield error("T015", "/header", message, T("Remove the header."))
    for index, button in enumerate(draft.buttons):
        if button.get("type") != "otp":
            message = T("A code message has one button, which copies the code.")
            yield error("T015", f"/buttons/{index}", message, T("Remove this button."))
    if sum(button.get("type") == "otp" for button in draft.buttons) > 1:
        message = T("A code message has one button, which copies the code.")
        yield error("T015", "/buttons", message, T("Remove some buttons."))
    yield from _own_words(draft)


def _own_words(draft: TemplateText) -> Iterator[LintFinding]:
    tongue = spoken(draft.language) or "en"
    button: dict[str, Any] = next((each for each in draft.buttons if each.get("type") == "otp"), {})
    theirs = {
        "body": CODE_BODY[tongue],
        "footer": CODE_FOOTER[tongue] % (button.get("code_expiration_minutes") or CODE_LIFE_MINUTES),
    }
    for part, words in theirs.items():
        own = str(getattr(draft, part) or "").strip()
        if _LINK.search(own):
            message = T("A code message has no web address.")
            yield error("T015", f"/{part}", message, T("Remove it: WhatsApp writes this text."), (f"/{part}", words))
        elif own and own != words:
            message = T("WhatsApp writes the words of a code message itself; yours are not used.")
            fix = T("Nothing to do: people will read “%(text)s”", text=words)
            yield warning("T015", f"/{part}", message, fix, (f"/{part}", words))


def unknown_variables(draft: TemplateText) -> Iterator[LintFinding]:
    """T023: a slip of the pen is a message that cannot be sent."""
    for name, places in all_variables(draft).items():
        if name in VARIABLES:
            continue
        here = {"header": "/header/text", "body": "/body"}.get(places[0], "/buttons")
        if (right := misspelt(name)) is not None:
            message = T("%(name)s is no variable of ours. Did you mean %(right)s?", name=name, right=right)
            fix = T("Write {%(right)s}.", right=right)
            yield warning("T023", here, message, fix, _renamed(draft, here, name, right))
        elif (right := meant(name)) is not None:
            message = T("%(name)s must come with every message; %(right)s is filled in for you.",
                        name=name, right=right)  # fmt: skip
            fix = T("Write {%(right)s} if that is what you mean.", right=right)
            yield hint("T023", here, message, fix, _renamed(draft, here, name, right))
        else:
            message = T("We do not know %(name)s, so your shop must give it with every message.", name=name)
            yield hint("T023", here, message, T("If you mean the name, the order or the event, use our variables."))


def _renamed(draft: TemplateText, here: str, name: str, right: str) -> tuple[str, str] | None:
    text = {"/header/text": header_text(draft), "/body": draft.body}.get(here)
    if text is None:
        return None
    return here, VARIABLE.sub(lambda found: f"{{{right}}}" if found[1] == name else found[0], text)


def category(draft: TemplateText) -> Iterator[LintFinding]:
    """T024 and T025: what the type of message decides."""
    fitting = CATEGORY_OF.get(draft.type)
    if fitting is not None and draft.category != fitting:
        message = T("A template of the type %(type)s has the category %(category)s.",
                    type=draft.type, category=fitting)  # fmt: skip
        yield error("T024", "/category", message, T("Use %(code)s.", code=fitting), ("/category", fitting))
    low, high = TTL.get(draft.category, (30, 2_592_000))
    if draft.ttl_seconds is not None and draft.ttl_seconds != -1 and not low <= draft.ttl_seconds <= high:
        message = T("For this category WhatsApp takes %(low)s to %(high)s seconds.", low=low, high=high)
        yield error("T025", "/ttl_seconds", message, T("Leave it out, or choose a time in between."))
