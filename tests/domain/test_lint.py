import re
import time
from dataclasses import replace

import pytest

from wa_dashboard.domain.lint import CATEGORY_OF, LANGUAGES, has_errors, lint, mended
from wa_dashboard.domain.rendering import TemplateText, preview
from wa_dashboard.domain.starters import starters

GOOD = TemplateText(
    name="order_confirm",
    type="order_confirm",
    language="ro",
    category="utility",
    header={"format": "text", "text": "Comanda {order_id}"},
    body="Bună, {first_name}! Comanda {order_id} pentru {event_name} este confirmată. Te așteptăm cu drag.",
    footer="Răspunde STOP pentru a opri mesajele",
    buttons=[
        {"type": "url", "text": "Vezi biletele", "url": "https://t.example/o/{order_token}"},
        {"type": "quick_reply", "text": "Ajutor"},
    ],
    examples={"first_name": "Ana", "order_id": "A-1001", "event_name": "Concert", "order_token": "abc"},
)


def rules(draft, level="error"):
    return {(finding.rule, finding.pointer) for finding in lint(draft) if finding.level == level}


def test_a_good_template_has_nothing_to_mend():
    assert lint(GOOD) == []


@pytest.mark.parametrize("name", ["", "Order", "order confirm", "order-confirm", "a" * 513, "comandă", "order\n"])
def test_t001_name(name):
    assert ("T001", "/name") in rules(replace(GOOD, name=name))


@pytest.mark.parametrize("name", ["a", "a" * 512, "order_2"])
def test_t001_good_names(name):
    assert lint(replace(GOOD, name=name)) == []


def test_t001_suggests_a_name():
    (finding,) = lint(replace(GOOD, name="Comandă Nouă!"))
    assert finding.fix == "Call it comanda_noua."


@pytest.mark.parametrize(("body", "bad"), [("", True), ("  \n", True), ("a" * 1024, False), ("a" * 1025, True)])
def test_t002_length_of_the_body(body, bad):
    plain = replace(GOOD, body=body, header=None, buttons=[], examples={})
    assert (("T002", "/body") in rules(plain)) is bad


def test_t002_counts_variables_as_the_provider_does():
    edge = replace(GOOD, header=None, buttons=[], examples={"code_x": "1"})
    fits = "a b c " + "d" * (1024 - 6 - len("{{code_x}}.")) + "{code_x}."
    assert rules(replace(edge, body=fits)) == set()
    assert ("T002", "/body") in rules(replace(edge, body="d" + fits))


@pytest.mark.parametrize(
    "text",
    ["", "a" * 61, "{order_id} {first_name}", "Gata 🎉", "*Gata*", "Gata_", "~Gata~", "a\nb", "Gata ✅", "`a`", "x ️"],
)
def test_t003_header(text):
    assert ("T003", "/header/text") in rules(replace(GOOD, header={"format": "text", "text": text}))


@pytest.mark.parametrize(
    "header",
    [
        None,
        {"format": "location"},
        {"format": "text", "text": "Știri bune, țara mea"},
        {"format": "image", "example": {"link": "https://a.example/afis.jpg"}},
        {"format": "document", "example": {"handle": "4::aW"}},
        {"format": "video", "example": {"media_id": "med_1"}},
        {"format": "image", "link": "https://a.example/afis.jpg"},
    ],
)
def test_t003_good_headers(header):
    assert rules(replace(GOOD, header=header)) == set()


@pytest.mark.parametrize(
    ("header", "pointer"),
    [
        ({"format": "image"}, "/header/example"),
        ({"format": "document", "example": {"link": " "}}, "/header/example"),
        ({"format": "video", "example": {"link": "http://a.example/film.mp4"}}, "/header/example/link"),
        ({"format": "video", "example": {"link": "film.mp4"}}, "/header/example/link"),
        ({"format": "image", "link": "http://a.example/afis.jpg"}, "/header/link"),
    ],
)
def test_t003_files_need_an_example(header, pointer):
    assert rules(replace(GOOD, header=header)) == {("T003", pointer)}


@pytest.mark.parametrize("footer", ["a" * 61, "Salut {first_name}", "{", "   "])
def test_t004_footer(footer):
    assert ("T004", "/footer") in rules(replace(GOOD, footer=footer))


@pytest.mark.parametrize(
    "body", ["{first_name}, salut și bun venit!", "Salut și bun venit, {first_name}", " {event_name} x "]
)
def test_t005_variable_at_the_edge(body):
    assert ("T005", "/body") in rules(replace(GOOD, body=body))


@pytest.mark.parametrize("gap", ["", " ", "\n", "  \n "])
def test_t006_variables_side_by_side(gap):
    body = f"Bună ziua, dragă {{first_name}}{gap}{{event_name}} te așteaptă."
    assert ("T006", "/body") in rules(replace(GOOD, body=body))
    assert ("T006", "/body") not in rules(replace(GOOD, body=body.replace(gap + "{ev", " la {ev")))


def test_t007_every_variable_has_an_example():
    examples = {"first_name": "Ana", "order_id": " ", "event_name": "Concert"}
    assert rules(replace(GOOD, examples=examples)) == {
        ("T007", "/examples/order_id"),
        ("T007", "/examples/order_token"),
    }


def test_t007_warns_of_examples_nobody_uses():
    examples = {**GOOD.examples, "a/b~c": "x"}
    assert rules(replace(GOOD, examples=examples)) == set()
    assert rules(replace(GOOD, examples=examples), "warning") == {("T007", "/examples/a~1b~0c")}


@pytest.mark.parametrize(
    "body", ["Bună {{1}} și {{3}} azi", "Bună {1} azi", "Bună {{first_name}} azi", "a } b", "Bună {Name} azi"]
)
def test_t008_brackets_that_are_no_variable(body):
    assert ("T008", "/body") in rules(replace(GOOD, body=body))


@pytest.mark.parametrize("value", ["a\nb", "a\tb", "a     b", "a\r", "a\u2028b"])
def test_t012_examples_in_one_line(value):
    assert ("T012", "/examples/first_name") in rules(replace(GOOD, examples={**GOOD.examples, "first_name": value}))


def test_t012_four_spaces_are_fine():
    assert lint(replace(GOOD, examples={**GOOD.examples, "first_name": "a    b"})) == []


@pytest.mark.parametrize(
    ("code", "fix"), [("ro_RO", "Use ro."), ("en-us", "Use en_US."), ("EN", "Use en."), ("xx", None)]
)
def test_t013_language(code, fix):
    (finding,) = lint(replace(GOOD, language=code))
    assert (finding.rule, finding.level, finding.pointer) == ("T013", "error", "/language")
    assert finding.fix == (fix or "Use a code such as ro, en or en_GB.")


@pytest.mark.parametrize("code", ["ro", "en", "en_GB", "hu", "zh_CN", "pt_BR"])
def test_t013_good_languages(code):
    assert lint(replace(GOOD, language=code)) == []


def url(address, **more):
    return {"type": "url", "text": "Vezi", "url": address, **more}


@pytest.mark.parametrize(
    ("buttons", "pointer"),
    [
        ([{"type": "quick_reply", "text": f"Da {n}"} for n in range(11)], "/buttons"),
        ([url("https://a.example/")] * 3, "/buttons"),
        ([{"type": "phone", "text": "Sună", "phone": "+40722123456"}] * 2, "/buttons"),
        (
            [{"type": "quick_reply", "text": "a"}, url("https://a.example/"), {"type": "quick_reply", "text": "b"}],
            "/buttons",
        ),
        ([{"type": "quick_reply", "text": "a" * 26}], "/buttons/0/text"),
        ([{"type": "quick_reply", "text": "{first_name}"}], "/buttons/0/text"),
        ([{"type": "phone", "text": "Sună", "phone": "0722"}], "/buttons/0/phone"),
        ([{"type": "copy_code", "example": ""}], "/buttons/0/example"),
        ([{"type": "otp", "text": "Copiază"}], "/buttons/0/type"),
    ],
)
def test_t009_buttons(buttons, pointer):
    assert ("T009", pointer) in rules(replace(GOOD, buttons=buttons))


@pytest.mark.parametrize(
    "address",
    ["", "http://a.example/", "a.example", "https://", "https://a.example/{order_token}/x", "https://{order_token}",
     "https://{order_token}.example/", "https://a.example/{order_id}{order_token}", "https://bit.ly/x",
     "https://a b.example/",
     "javascript:alert(1)", "https://[a"],
)  # fmt: skip
def test_t010_addresses(address):
    assert ("T010", "/buttons/0/url") in rules(replace(GOOD, buttons=[url(address)]))


@pytest.mark.parametrize(
    "address", ["https://a.example/o/{order_token}", "https://a.example/?o={order_token}", "https://a.example/"]
)
def test_t010_good_addresses(address):
    assert rules(replace(GOOD, buttons=[url(address)])) == set()


def test_t011_many_variables_for_few_words_is_a_warning():
    draft = replace(GOOD, body="Bună, {first_name}! Comanda {order_id} pentru {event_name} este gata.")
    assert rules(draft) == set()
    assert rules(draft, "warning") == {("T011", "/body")}


@pytest.mark.parametrize(
    ("name", "level", "right"),
    [
        ("frist_name", "warning", "first_name"),
        ("event_nme", "warning", "event_name"),
        ("prenume", "hint", "first_name"),
        ("date", "hint", "event_date"),
        ("dress_code", "hint", None),
        ("event_name_2", "hint", None),
        ("codes", "hint", None),
    ],
)
def test_t023_variables_nobody_fills(name, level, right):
    draft = replace(GOOD, body=f"Bună, {{{name}}}! Ne vedem curând, te așteptăm cu drag.", examples={name: "x"})
    (finding,) = [f for f in lint(draft) if f.rule == "T023" and f.pointer == "/body"]
    assert finding.level == level
    assert finding.mend == (("/body", draft.body.replace(name, right)) if right else None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("Vezi https://bit.ly/3xyz pentru detalii", True),
        ("Vezi wa.me/40722123456 pentru detalii", True),
        ("Vezi https://bilete.example/3xyz pentru detalii", False),
        ("Vezi https://rabbit.ly/3 și habit.ly/x pentru detalii", False),
    ],
)
def test_t010_short_links_in_the_text(body, said):
    assert (("T010", "/body") in rules(replace(GOOD, body=body), "warning")) is said


ENDLESS = ["{" * 10_000, "{a" * 5_000, "{ " * 5_000, "1" * 10_000, "1," * 5_000, "bit." * 2_500, " " * 10_000 + "{a}",
           "{a}" * 3_000, "promo" * 2_000, "www." * 2_500, "}" * 10_000, "ă🎉" * 5_000]  # fmt: skip


@pytest.mark.parametrize("body", ENDLESS, ids=lambda body: body[:6])
@pytest.mark.parametrize("category", ["utility", "marketing", "authentication"])
def test_no_text_takes_long(body, category):
    begun = time.perf_counter()
    draft = replace(GOOD, body=body, footer=body, category=category, header={"format": "text", "text": body})
    for finding in lint(draft):
        mended(draft, finding)
    assert time.perf_counter() - begun < 2


def test_t014_advertising_in_a_utility_text_is_a_warning():
    draft = replace(GOOD, body="Bună, {first_name}! Ai 10% reducere la {event_name} cu comanda {order_id} de azi.")
    assert rules(draft) == set()
    assert ("T014", "/body") in rules(draft, "warning")


def test_t014_reads_the_samples_as_meta_does():
    draft = replace(GOOD, examples={**GOOD.examples, "event_name": "Reducere de vară"})
    (finding,) = [finding for finding in lint(draft) if finding.rule == "T014"]
    assert "reducere" in finding.message


def test_t017_a_promotion_without_exit_is_a_warning():
    draft = replace(GOOD, type="promo", category="marketing", footer=None)
    assert ("T017", "/footer") in rules(draft, "warning")


@pytest.mark.parametrize("language", ["ro", "en"])
def test_six_starters_have_nothing_to_mend(language):
    texts = starters(language)
    assert [text.type for text in texts] == ["order_confirm", "reminder", "reminder", "reminder", "promo", "otp"]
    for text in texts:
        assert not has_errors(lint(text)), lint(text)
        assert [finding for finding in lint(text) if finding.rule != "T014"] == [], text.name
        assert text.category == CATEGORY_OF[text.type]
        assert text.language == language
        shown = preview(text, text.examples)
        assert not re.search(r"[{}]", shown.header + shown.body + shown.footer)


def test_starters_have_the_same_names_and_variables_in_both_languages():
    ours = [[(text.name, text.type, sorted(text.examples)) for text in starters(language)] for language in ("ro", "en")]
    assert ours[0] == ours[1]


def test_romanian_letters_have_commas_not_cedillas():
    words = " ".join(f"{text.header} {text.body} {text.footer} {text.buttons}" for text in starters("ro"))
    assert not set(words) & set("şţŞŢ")
    assert set("șțăîâ") & set(words) >= set("șțăî")


def test_a_starter_asks_only_for_what_every_order_tells():
    for text in starters("ro") + starters("en"):
        if text.type in ("order_confirm", "reminder"):
            assert set(text.examples) <= {"first_name", "order_id", "event_name", "event_date"}


def test_languages_hold_ours():
    assert {"ro", "en", "hu", "de", "en_US"} <= LANGUAGES
