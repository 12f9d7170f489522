"""When a provider that can be asked is first asked about a message it took (`price_reports` asks). Reads no table."""

from datetime import datetime, timedelta
from functools import cache

from flask import current_app

from ..db import clock_of_database
from ..domain.pace import Pace
from ..models import ProviderAccount
from ..providers.base import provider_named

_TEST_S = 30.0  # in test mode sooner: the far end is on this machine


def first_question(account: ProviderAccount) -> datetime | None:
    """The moment (database clock) for a message this account's provider takes now; None where it cannot be asked."""
    return _first(account.provider, _TEST_S if not account.live else None)


def first_question_of(provider: str) -> datetime | None:
    """As `first_question`, where only the provider is known."""
    return _first(provider, None)


def _first(provider: str, most: float | None) -> datetime | None:
    if not _can_be_asked(provider):
        return None
    pace: Pace = current_app.extensions["wa_pace"]
    return clock_of_database() + timedelta(seconds=min(pace.stuck, most or pace.stuck))


@cache
def _can_be_asked(provider: str) -> bool:
    try:
        return provider_named(provider).can_look_up
    except KeyError:
        return False
