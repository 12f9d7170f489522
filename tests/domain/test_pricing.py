"""Prices come from a dated card, exact in micro-units."""

from datetime import UTC, date, datetime

import pytest

from wa_dashboard.domain.pricing import price_card, price_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("market", "category", "micros", "exact"),
    [
        ("RO", "utility", 23_900, True),
        ("RO", "marketing", 71_200, True),
        ("RO", "authentication", 23_900, True),
        ("MD", "utility", 17_500, False),
    ],
)
def test_the_price_in_force(market: str, category: str, micros: int, exact: bool) -> None:
    price = price_of(market, category, NOW)

    assert price is not None
    assert (price.micros, price.currency, price.exact, price.market) == (micros, "EUR", exact, market)
    assert price.effective_from <= NOW.date()


def test_no_price_is_none_and_never_zero() -> None:
    assert price_of("RO", "service", NOW) is None
    assert price_of("RO", "utility", datetime(2020, 1, 1, tzinfo=UTC)) is None


def test_the_card_says_each_price_once_for_every_category() -> None:
    card = price_card()
    keys = [(row.market, row.category, row.effective_from) for row in card]

    assert len(keys) == len(set(keys))
    assert {row.category for row in card if row.market == "*"} == {"utility", "marketing", "authentication"}
    assert all(row.micros > 0 and len(row.currency) == 3 for row in card)
    assert all(isinstance(row.effective_from, date) for row in card)
