"""The lint of a template's words: name, language, header, body, footer, samples (T001–T008, T011–T013, T016, T018)."""

import itertools
import re
import unicodedata
from collections.abc import Iterator
from math import ceil

from .findings import LONGEST_BODY, LONGEST_FOOTER, LONGEST_HEADER, LintFinding, error, escaped, hint, warning
from .rendering import VARIABLE, TemplateText, all_variables, clean_value, header_text
from .text import T
from .variables import longest
from .wording import GREETING, SAMPLES, spoken

# Meta's supported languages for message templates.
LANGUAGES = frozenset(
    "af sq ar ar_AE ar_EG ar_LB ar_MA ar_QA az be_BY bg bn bn_IN ca cs da de de_AT de_CH el en en_AE en_AU en_CA en_GB"
    " en_GH en_IE en_IN en_JM en_MY en_NZ en_QA en_SG en_UG en_US en_ZA es es_AR es_CL es_CO es_CR es_DO es_EC es_ES"
    " es_HN es_MX es_PA es_PE es_UY et fa fi fil fr fr_BE fr_CA fr_CH fr_CI fr_MA ga gu ha he hi hr hu id it ja ka kk"
    " kn ko ky_KG lo lt lv mk ml mr ms nb nl nl_BE pa pl prs_AF ps_AF pt_BR pt_PT ro ru rw_RW si_LK sk sl sq sr sv sw"
    " ta te th tr uk ur uz vi zh_CN zh_HK zh_TW zu".split()
)
FILES = ("image", "video", "document")
MOST_LINES, LINE = 5, 42  # of a promotion before WhatsApp folds it (Bird's documentation); letters in a line of a phone
MOST_EMOJI = 3

_NAME = re.compile(r"[a-z0-9_]{1,512}\Z")
_WORD = re.compile(r"\w+")
_PIECES = re.compile(r"(?<!\{)(\{[a-z][a-z0-9_]{0,63}\})(?!\})")
_ALMOST = re.compile(r"\{{1,3}[ ]{0,3}([A-Za-z][A-Za-z0-9_ ]{0,63}?)[ ]{0,3}\}{1,3}")
_MARKS = "*_~`\n\r\t"


def name(draft: TemplateText) -> Iterator[LintFinding]:
    """T001."""
    if not _NAME.match(draft.name):
        suggestion = as_name(draft.name)
        yield error(
            "T001",
            "/name",
            T("A template's name has 1 to 512 small letters, digits and underscores."),
            T("Call it %(name)s.", name=suggestion) if suggestion else T("Call it for example order_confirm."),
            ("/name", suggestion) if suggestion else None,
        )


def as_name(title: str) -> str:
    """A name made of a title: ``Comandă nouă!`` → ``comanda_noua``; ``""`` when nothing is left."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:512]


def language(draft: TemplateText) -> Iterator[LintFinding]:
    """T013."""
    if draft.language in LANGUAGES:
        return
    base, _, country = draft.language.replace("-", "_").partition("_")
    guess = next((code for code in (f"{base.lower()}_{country.upper()}", base.lower()) if code in LANGUAGES), None)
    yield error(
        "T013",
        "/language",
        T("%(code)s is not a language code of WhatsApp's.", code=draft.language[:20]),
        T("Use %(code)s.", code=guess) if guess else T("Use a code such as ro, en or en_GB."),
        ("/language", guess) if guess else None,
    )


def header(draft: TemplateText) -> Iterator[LintFinding]:
    """T003, and T008 in the header."""
    kind = (draft.header or {}).get("format")
    if kind in FILES:
        yield from _file(draft)
    if kind != "text":
        return
    text, here = header_text(draft), "/header/text"
    if not text.strip() or wire_length(text) > LONGEST_HEADER:
        message = T("The header has %(count)s of 1 to %(most)s characters.", count=len(text), most=LONGEST_HEADER)
        yield error("T003", here, message, T("Keep the header short; the rest belongs into the text."))
    if len(VARIABLE.findall(text)) > 1:
        yield error("T003", here, T("A header has one variable at most."), T("Move the other variables into the text."))
    bare = VARIABLE.sub("", text)
    if any(mark in bare for mark in _MARKS) or any(map(is_emoji, bare)):
        message = T("A header has no emoji, no *bold* or other marks and no line break.")
        plain = _plain(text)
        yield error("T003", here, message, T("Write plain words in one line."), (here, plain) if plain else None)
    yield from _braces(text, here)


def _plain(text: str) -> str:
    """Without emoji and marks, in one line; variables stay."""
    pieces = _PIECES.split(text)
    for index in range(0, len(pieces), 2):
        kept = (" " if letter in "\n\r\t" else letter for letter in pieces[index])
        pieces[index] = "".join(letter for letter in kept if letter not in _MARKS and not is_emoji(letter))
    return " ".join("".join(pieces).split())


def _file(draft: TemplateText) -> Iterator[LintFinding]:
    """WhatsApp looks at a sample of the file before it approves the template; a file of its own is its own sample."""
    header = draft.header or {}
    example = header.get("example") or {}
    links = {"/header/link": header.get("link"), "/header/example/link": example.get("link")}
    if not any(str(given or "").strip() for given in (*links.values(), example.get("handle"), example.get("media_id"))):
        message = T("A header with a file needs an example of it, which WhatsApp looks at before it approves.")
        yield error("T003", "/header/example", message, T("Give the address of an example file."))
    for here, given in links.items():
        link = str(given or "").strip()
        if link and not link.startswith("https://"):
            message = T("The example of the header is not a full web address.")
            mend = (here, "https://" + link[7:]) if link.startswith("http://") else None
            yield error("T003", here, message, T("Give an address that begins with https://."), mend)


def is_emoji(letter: str) -> bool:
    """Is it an emoji, or a part of one?"""
    point = ord(letter)
    return point >= 0x1F000 or 0x2600 <= point <= 0x27BF or point in (0x200D, 0x20E3, 0xFE0F, 0x2B50, 0x2B55)


def wire_length(text: str) -> int:
    """How long the text is where the limit counts: the provider's variables have two more braces than ours."""
    return len(text) + 2 * len(VARIABLE.findall(text))


def body(draft: TemplateText) -> Iterator[LintFinding]:
    """T002, T005, T006, T008, T011."""
    length = wire_length(draft.body)
    if not draft.body.strip() or length > LONGEST_BODY:
        message = T("The text has %(count)s of 1 to %(most)s characters.", count=length, most=LONGEST_BODY)
        yield error("T002", "/body", message, T("Shorten the text.") if draft.body.strip() else T("Write the text."))
    bare = draft.body.strip()
    places = list(VARIABLE.finditer(bare))
    if places and (places[0].start() == 0 or places[-1].end() == len(bare)):
        message = T("The text begins or ends with a variable.")
        fix = T("Put a word or a full stop before the first and after the last one.")
        yield error("T005", "/body", message, fix, _framed(draft))
    if any(not bare[left.end() : right.start()].strip() for left, right in itertools.pairwise(places)):
        message = T("Two variables stand side by side.")
        yield error("T006", "/body", message, T("Put a word between the two."))
    yield from _braces(draft.body, "/body")
    if places and len(_WORD.findall(VARIABLE.sub(" ", bare))) < 2 * len(places):
        message = T("The text has many variables for so few words; WhatsApp often refuses that.")
        yield warning("T011", "/body", message, T("Write a few more words around the variables."))


def _framed(draft: TemplateText) -> tuple[str, str] | None:
    """A greeting before a first name, a full stop after the last variable; other beginnings need an author."""
    text = draft.body.strip()
    first = VARIABLE.match(text)
    if first is not None:
        tongue = spoken(draft.language)
        if tongue is None or first[1] != "first_name":
            return None
        text = GREETING[tongue] + text
    return "/body", f"{text}." if text.endswith("}") else text


def _braces(text: str, pointer: str) -> Iterator[LintFinding]:
    rest = VARIABLE.sub("", text)
    if "{" in rest or "}" in rest:
        message = T("A curly bracket is not part of a variable. Numbered variables such as {1} have no meaning here.")
        tidy = _ALMOST.sub(lambda found: "{" + as_name(found[1]) + "}", text)
        left = VARIABLE.sub("", tidy)
        mend = None if "{" in left or "}" in left else (pointer, tidy)
        yield error("T008", pointer, message, T("Write variables by name, such as {first_name}."), mend)


def footer(draft: TemplateText) -> Iterator[LintFinding]:
    """T004."""
    if draft.footer is None or draft.footer == "":
        return
    if not draft.footer.strip() or len(draft.footer) > LONGEST_FOOTER:
        count = len(draft.footer)
        message = T("The footer has %(count)s of 1 to %(most)s characters.", count=count, most=LONGEST_FOOTER)
        yield error("T004", "/footer", message, T("Shorten the footer."))
    if "{" in draft.footer or "}" in draft.footer:
        yield error("T004", "/footer", T("A footer has no variables."), T("Move the variable into the text."))


def samples(draft: TemplateText) -> Iterator[LintFinding]:
    """T007 and T012."""
    used = all_variables(draft)
    known = SAMPLES[spoken(draft.language) or "en"]
    for variable in used:
        if not str(draft.examples.get(variable) or "").strip():
            here = f"/examples/{variable}"
            message = T("The variable %(name)s has no example.", name=variable)
            mend = (here, known[variable]) if variable in known else None
            yield error("T007", here, message, T("Give an example of what will stand there."), mend)
    yield from sample_lines(draft)
    for variable in draft.examples:
        if variable not in used and not _breaks_line(draft.examples[variable]):
            message = T("There is no variable %(name)s in the template.", name=variable[:64])
            fix = T("Remove the example or use the variable.")
            yield warning("T007", f"/examples/{escaped(variable)}", message, fix)


def sample_lines(draft: TemplateText) -> Iterator[LintFinding]:
    """T012."""
    for variable, value in draft.examples.items():
        if _breaks_line(value):
            here, tidy = f"/examples/{escaped(variable)}", clean_value(value)
            message = T("An example holds a line break, a tab or more than four spaces in a row.")
            fix = T("Write it in one line: %(text)s", text=tidy[:80])
            yield error("T012", here, message, fix, (here, tidy) if tidy and len(variable) <= 80 else None)


def _breaks_line(value: str) -> bool:
    return any(mark in value for mark in "\n\r\t\v\f\x85\u2028\u2029") or " " * 5 in value


def length_when_filled(draft: TemplateText) -> Iterator[LintFinding]:
    """T018: WhatsApp checks the limit again with every message."""
    names = VARIABLE.findall(draft.body)
    most = len(VARIABLE.sub("", draft.body)) + sum(map(longest, names))
    if most > LONGEST_BODY and wire_length(draft.body) <= LONGEST_BODY:
        message = T("With long names and titles the text can grow to %(count)s characters; WhatsApp sends at most"
                    " %(most)s.", count=most, most=LONGEST_BODY)  # fmt: skip
        fix = T("Shorten the text by %(count)s characters, or use fewer variables.", count=most - LONGEST_BODY)
        yield warning("T018", "/body", message, fix)


def folding(draft: TemplateText) -> Iterator[LintFinding]:
    """T016: of a long promotion WhatsApp shows the beginning only."""
    if draft.category != "marketing":
        return
    lines = sum(max(1, ceil(len(line) / LINE)) for line in draft.body.strip().split("\n"))
    if lines > MOST_LINES:
        message = T("The text takes about %(count)s lines on a phone. WhatsApp shows about %(most)s of a promotion and"
                    " folds the rest.", count=lines, most=MOST_LINES)  # fmt: skip
        yield hint("T016", "/body", message, T("Say what matters in the first lines, or shorten the text."))


def emoji(draft: TemplateText) -> Iterator[LintFinding]:
    """T022."""
    count = sum(is_emoji(letter) and ord(letter) not in (0x200D, 0x20E3, 0xFE0F) for letter in draft.body)
    if count > MOST_EMOJI:
        message = T("There are %(count)s emoji in the text; many of them look like advertising.", count=count)
        yield hint("T022", "/body", message, T("Keep %(most)s at most.", most=MOST_EMOJI))
