"""How dates, numbers, money and phones are written in the two languages."""

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask, render_template_string

from wa_dashboard import clock, web
from wa_dashboard.web import formats
from wa_dashboard.web.shell import Shell, set_shell

AT = datetime(2026, 6, 21, 14, 5, 9, tzinfo=UTC)  # 17:05:09 in Bucharest


@pytest.fixture
def app():
    app = Flask("formats")
    app.secret_key = "only for this test"
    web.init_app(app)
    return app


@pytest.fixture
def shown(app):
    def show(source, language="ro", numbers=False, **context):
        with app.test_request_context(), clock.at(AT):
            set_shell(Shell(language=language, see_numbers=numbers))
            return render_template_string(source, **context)

    return show


@pytest.mark.parametrize(("language", "text"), [("ro", "21 iun. 2026, 17:05"), ("en", "21 Jun 2026, 17:05")])
def test_times_are_the_tenants(shown, language, text):
    assert shown("{{ at|when }}", language, at=AT) == f'<time datetime="2026-06-21T14:05:09+00:00">{text}</time>'


def test_relative_time_says_the_exact_one_too(shown):
    page = shown("{{ at|ago }}", at=AT - timedelta(minutes=3))
    assert page == (
        '<time datetime="2026-06-21T14:02:09+00:00" data-rel title="21 iun. 2026, 17:02">acum 3 minute</time>'
    )


def test_nothing_is_a_dash(shown):
    assert shown("{{ n|when }} {{ n|ago }} {{ n|money('EUR') }} {{ n|phone }} {{ n|number }}", n=None) == "– – – – –"


@pytest.mark.parametrize(
    ("language", "text"), [("ro", "1.234.567 98,1\xa0% 0,0319 EUR"), ("en", "1,234,567 98.1% 0.0319 €")]
)
def test_numbers(shown, language, text):
    assert shown("{{ 1234567|number }} {{ 0.981|percent }} {{ m|money('EUR', 4) }}", language, m=31_900) == text


def test_a_literal_is_not_frozen_in_the_first_readers_language(app, shown):
    template = app.jinja_env.from_string("{{ 1234567|number }}")
    with app.test_request_context():
        set_shell(Shell(language="en"))
        assert template.render() == "1,234,567"
    with app.test_request_context():
        set_shell(Shell(language="ro"))
        assert template.render() == "1.234.567"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, ""), (1, "+1 s"), (59, "+59 s"), (60, "+1 min"), (3900, "+1 h 5 min"), (7200, "+2 h"), (180000, "+2 d")],
)
def test_gaps(seconds, text):
    assert formats.gap(timedelta(seconds=seconds)) == text


def test_numbers_of_people_are_hidden_from_those_who_may_not_see_them(shown):
    assert shown("{{ '+40722123456'|phone }}") == "+40••••••456"
    assert shown("{{ '+40722123456'|phone }}", numbers=True) == "+40722123456"
