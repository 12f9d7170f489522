"""What a message costs, from a dated price card: data with a source, never constants (states.md §9)."""

import csv
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Price:
    """Micro-units of ``currency`` for one delivered message; not ``exact`` where only a region's price is known."""

    market: str
    category: str
    micros: int
    currency: str
    effective_from: date
    exact: bool


def price_of(market: str, category: str, at: datetime) -> Price | None:
    """The price in force for a country (ISO 3166) and category on that day (UTC); None when the card has none."""
    card = price_card()
    for country in (market, "*"):
        rows = [row for row in card if row.market == country and row.category == category]
        valid = [row for row in rows if row.effective_from <= at.date()]
        if valid:
            best = max(valid, key=lambda row: row.effective_from)
            return Price(market, category, best.micros, best.currency, best.effective_from, country == market)
    return None


@cache
def price_card() -> tuple[Price, ...]:
    """Every row of the card that ships with the product."""
    with resources.files("wa_dashboard").joinpath("data/price_card.csv").open(encoding="utf-8") as file:
        return tuple(
            Price(
                row["market"],
                row["category"],
                int(row["micros"]),
                row["currency"],
                date.fromisoformat(row["effective_from"]),
                True,
            )
            for row in csv.DictReader(file)
        )
