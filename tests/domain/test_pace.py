"""How long things may take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_dashboard.domain.pace import Pace


def test_a_word_about_each_changed_time() -> None:
    pace = Pace.parse(" lease=6 , tries=3,, grace=0.5")

    assert (pace.lease, pace.tries, pace.grace) == (6.0, 3, 0.5)
    assert isinstance(pace.tries, int)
    assert pace.hold == Pace().hold
    assert Pace.parse("") == Pace()


@pytest.mark.parametrize(
    ("spec", "word"), [("leese=6", "leese"), ("lease=-1", "lease"), ("lease", "float"), ("grace=soon", "soon")]
)
def test_what_is_wrong_is_named(spec: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Pace.parse(spec)


def test_a_lease_outlives_a_request() -> None:
    """The sender may start until half its lease is over, and then waits for connect and read."""
    pace = Pace()

    assert pace.lease / 2 + pace.connect + pace.read <= pace.lease
    assert pace.grace < pace.margin < pace.hold < pace.long_hold


@given(st.integers(1, 40), st.none() | st.floats(0, 100_000))
def test_a_retry_waits_between_what_was_asked_and_the_ceiling(failures: int, retry_after: float | None) -> None:
    pace = Pace()

    delay = pace.retry_delay(failures, retry_after)

    assert delay >= max(1.0, retry_after or 0.0)
    assert delay <= max(pace.cap, retry_after or 0.0)
    assert delay <= max(pace.base * 2 ** (failures - 1), 1.0, retry_after or 0.0)


def test_retries_do_not_come_in_step() -> None:
    pace = Pace()

    assert len({round(pace.retry_delay(6), 3) for _ in range(50)}) > 40
