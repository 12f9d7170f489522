"""Identifiers that sort by time and say what they are."""

import re
import time
import uuid

from wa_dashboard.domain.ids import new_id

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def uuid_of(identifier: str) -> uuid.UUID:
    number = 0
    for letter in identifier.partition("_")[2]:
        number = number * 32 + ALPHABET.index(letter)
    return uuid.UUID(int=number)


def test_a_prefix_and_a_uuid_of_version_seven() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id("msg")
    after = time.time_ns() // 1_000_000

    assert re.fullmatch(r"msg_[0-7][0-9a-hjkmnp-tv-z]{25}", made)
    assert uuid_of(made).version == 7
    assert uuid_of(made).variant == uuid.RFC_4122
    assert before <= uuid_of(made).int >> 80 <= after


def test_they_differ_and_sort_by_time() -> None:
    many = [new_id("evt") for _ in range(5000)]
    assert len(set(many)) == 5000

    first = new_id("msg")
    time.sleep(0.002)
    assert first < new_id("msg")
