import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_dashboard.domain.rendering import (
    LONGEST_TEXT,
    LONGEST_VALUE,
    Bubble,
    BubbleButton,
    MissingVariable,
    TemplateText,
    all_variables,
    button_variables,
    clean_value,
    missing_values,
    preview,
    render,
    variables_of,
)

TEXT = TemplateText(
    name="order_confirm",
    type="order_confirm",
    language="ro",
    category="utility",
    header={"format": "text", "text": "Comanda {order_id}"},
    body="Bună, {first_name}! Comanda {order_id} pentru {event_name} este confirmată.",
    footer="Răspunde STOP",
    buttons=[
        {"type": "url", "text": "Biletele", "url": "https://t.example/o/{order_token}"},
        {"type": "quick_reply", "text": "Ajutor"},
    ],
    examples={"first_name": "Ana"},
)


def test_variables_come_in_order_each_once():
    assert variables_of("{b} {a}", "{b} {c}") == ["b", "a", "c"]
    assert all_variables(TEXT) == {
        "order_id": ["header", "body"],
        "first_name": ["body"],
        "event_name": ["body"],
        "order_token": ["buttons"],
    }
    assert button_variables(TEXT) == [(0, "url", "order_token")]


def test_render_fills_all_places_and_cleans_values():
    values = {"first_name": " Ana\nMaria\t", "order_id": 7, "event_name": "A      B"}
    assert render(TEXT.body, values) == "Bună, Ana Maria! Comanda 7 pentru A B este confirmată."


def test_every_missing_variable_is_named_and_empty_counts_as_missing():
    with pytest.raises(MissingVariable) as caught:
        render(TEXT.body, {"order_id": "  \n ", "event_name": None})
    assert caught.value.names == ("first_name", "order_id", "event_name")
    assert missing_values(TEXT, {"first_name": "Ana"}) == ["order_id", "event_name", "order_token"]


def test_a_value_is_never_read_as_text():
    assert render("Hi {a}, {b}.", {"a": "{b}", "b": "{a}"}) == "Hi {b}, {a}."


def test_preview_shows_what_is_missing_and_keeps_marks():
    bubble = preview(TEXT, {"first_name": "*Ana* <b>", "order_id": "A-1"})
    assert bubble == Bubble(
        header_format="text",
        header="Comanda A-1",
        body="Bună, *Ana* <b>! Comanda A-1 pentru {event_name} este confirmată.",
        footer="Răspunde STOP",
        buttons=(
            BubbleButton("url", "Biletele", "https://t.example/o/{order_token}"),
            BubbleButton("quick_reply", "Ajutor"),
        ),
    )


HOSTILE = [
    "{x.__class__}", "{x.__init__.__globals__[secret]}", "{x!r}", "{x!s}", "{x:>50000000}", "{x[0]}", "{0}", "{}",
    "{1}", "{{7*7}}", "{{x}}", "{{ x }}", "{%x%}", "{% for i in x %}", "{#x#}", "${x}x", "$x", "#{x!r}", "%s", "%(x)s",
    "%(x)999999999d", "%n", "{x }", "{ x}", "{X}", "{x-y}", "{x\n}", "{_x}", "{9x}", "{x,y}", "{self}s{", "}{", "{{{",
    "}}}", "{" * 4000, "{x" * 1000, "\x00{x.a}", "{" + "x" * 65 + "}", "{х}", "{x\u200b}", "{x\ud800}", "\\{x.a\\}",
    "{lipsum.__globals__}", "{config.items()}", "{request}x{request.a}", "<%= x %>", "{{a.b('x')()}}",
    "${{x}}", "@{x.y}", "*{x.y}", "~{x.y}", "{x|safe}", "{x?y}", "{x=}", "{x=!r:^20}", "{x.__class__.__mro__[1]}",
    "{''.__class__}", "{\"a\".b}", "{x!a}", "{x:{x}}", "{x:{y}{z}}",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_is_not_exactly_a_variable_stays_as_it_is(text):
    secret = "SECRET-4711"
    names = variables_of(text)
    values = dict.fromkeys(names, "v")
    began = time.perf_counter()
    shown = render(text, {**values, "x": "v", "secret": secret})
    assert time.perf_counter() - began < 0.05
    assert len(shown) <= LONGEST_TEXT
    assert secret not in shown
    expected = text
    for name in names:
        expected = expected.replace("{" + name + "}", "v")
    assert shown == expected[:LONGEST_TEXT]


@pytest.mark.parametrize("wrap", ["{}", "a {} b", "{}{}", "{{{}", "{}}}"])
@pytest.mark.parametrize("payload", HOSTILE)
def test_hostile_values_come_out_as_literals(payload, wrap):
    value = wrap.replace("{}", payload)
    shown = render("Hi {name}!", {"name": value}) if clean_value(value) else "Hi !"
    assert shown == f"Hi {clean_value(value)}!"
    assert len(shown) <= LONGEST_VALUE + 4


@pytest.mark.parametrize("value", [" " * 100_000, " \n" * 50_000, "\t " * 50_000, "a" * 1_000_000, "{x" * 500_000])
def test_enormous_values_cost_nothing(value):
    began = time.perf_counter()
    assert len(clean_value(value)) <= LONGEST_VALUE
    assert time.perf_counter() - began < 0.05


@given(st.text())
def test_a_clean_value_is_what_whatsapp_takes_and_stays_so(text):
    clean = clean_value(text)
    assert not any(mark in clean for mark in "\n\r\t\v\f\u2028\u2029\x00")
    assert " " * 5 not in clean
    assert clean == clean.strip()
    assert clean_value(clean) == clean
    clean.encode()


@given(st.text(alphabet="{}ab_ 1*", max_size=60), st.text(alphabet="{}ab\n ", max_size=20))
def test_rendering_touches_only_variables(text, value):
    names = variables_of(text)
    if names and not clean_value(value):
        with pytest.raises(MissingVariable):
            render(text, dict.fromkeys(names, value))
        return
    parts = render(text, dict.fromkeys(names, value))
    assert (
        len(parts)
        == len(text)
        + sum(
            text.count("{" + name + "}") * (len(clean_value(value)) - len(name) - 2)
            for name in names
            if "{{" + name not in text and name + "}}" not in text
        )
        or "{{" in text
        or "}}" in text
    )
