"""Telephone numbers: E.164 in, E.164 or a reason out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_dashboard.domain.phone import BadPhone, Phone, candidates_of, mask, to_e164


@pytest.mark.parametrize(
    ("written", "country", "e164", "market"),
    [
        ("+40722123456", None, "+40722123456", "RO"),
        (" +40 722-123 456 ", None, "+40722123456", "RO"),
        ("0040722123456", None, "+40722123456", "RO"),
        ("0722 123 456", "RO", "+40722123456", "RO"),
        ("+1 (212) 555-0123", None, "+12125550123", "US"),
        ("+442079460958", "RO", "+442079460958", "GB"),
        ("+37369123456", None, "+37369123456", "MD"),
        ("+40 (0) 722 123 456", None, "+40722123456", "RO"),
    ],
)
def test_numbers_as_people_write_them(written: str, country: str | None, e164: str, market: str) -> None:
    phone = to_e164(written, country)

    assert (phone.e164, phone.market) == (e164, market)


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("", "phone_empty"),
        ("   ", "phone_empty"),
        ("0722123456", "phone_missing_plus"),
        ("+0722123456", "phone_missing_plus"),
        ("abc", "phone_missing_plus"),
        ("+", "phone_not_a_number"),
        ("+abc", "phone_not_a_number"),
        ("+999123456789", "phone_not_a_number"),
        ("+40722", "phone_too_short"),
        ("+407221234567890", "phone_too_long"),
        ("+40022123456", "phone_invalid"),
    ],
)
def test_the_reason_has_a_code(written: str, code: str) -> None:
    with pytest.raises(BadPhone) as problem:
        to_e164(written)

    assert problem.value.code == code
    assert str(problem.value)


@pytest.mark.parametrize(
    ("written", "guess"),
    [
        ("0722123456", "+40722123456"),
        ("+0722123456", "+40722123456"),
        ("40722123456", "+40722123456"),
        ("12345", None),
    ],
)
def test_what_was_probably_meant(written: str, guess: str | None) -> None:
    with pytest.raises(BadPhone) as problem:
        to_e164(written)

    assert problem.value.guess == guess
    if guess:
        assert guess in problem.value.detail


def test_country_and_three_digits_are_shown() -> None:
    assert mask("+40722123456") == "+40••••••456"
    assert mask("+12125550123") == "+1•••••••123"
    assert to_e164("+40722123456").masked == "+40••••••456"
    assert "722" not in mask("+40722123456")


@pytest.mark.parametrize(
    ("told", "aliases"),
    [
        ("40722123456", {"+40722123456"}),
        ("5491123456789", {"+5491123456789", "+541123456789"}),
        ("541123456789", {"+541123456789", "+5491123456789"}),
        ("5215512345678", {"+5215512345678", "+525512345678"}),
        ("+5511987654321", {"+5511987654321", "+551187654321"}),
        ("551187654321", {"+551187654321", "+5511987654321"}),
    ],
)
def test_names_whatsapp_may_give_the_same_person(told: str, aliases: set[str]) -> None:
    assert set(candidates_of(told)) == aliases
    assert candidates_of(told)[0] == "+" + told.lstrip("+")


@given(st.text(max_size=30) | st.from_regex(r"\+?[0-9 ().-]{0,20}"))
def test_any_text_is_a_number_or_a_reason(text: str) -> None:
    for country in (None, "RO"):
        code, phone = read(text, country)
        if phone is None:
            assert code.startswith("phone_")
        else:
            assert phone.e164[1:].isascii()
            assert phone.e164[1:].isdigit()
            assert read(phone.e164, None) == ("", phone)
    assert mask(text) != ""
    assert candidates_of(text)


def read(text: str, country: str | None) -> tuple[str, Phone | None]:
    try:
        return "", to_e164(text, country)
    except BadPhone as problem:
        return problem.code, None
