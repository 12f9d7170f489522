"""The rules of consent by themselves: who may be written to, and what a START brings back."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_dashboard.domain.consent import (
    IN,
    OUT,
    PURPOSES,
    Said,
    judge,
    present_of,
    restored_by_start,
    skip_sentence,
    supersedes,
)

DAY = datetime(2026, 11, 3, 22, 30, tzinfo=UTC)


def states(**words: str) -> dict[str, Said]:
    return {purpose: Said({"in": IN, "out": OUT}[word], DAY, "checkout") for purpose, word in words.items()}


@pytest.mark.parametrize(
    ("said", "purpose", "reason"),
    [
        ({}, "transactional", "not_opted_in"),
        ({"transactional": "in"}, "transactional", None),
        ({"transactional": "out"}, "transactional", "opted_out"),
        ({"reminder": "in"}, "transactional", "not_opted_in"),
        ({}, "reminder", "not_opted_in"),
        ({"transactional": "in"}, "reminder", None),
        ({"reminder": "in"}, "reminder", None),
        ({"reminder": "in", "transactional": "out"}, "reminder", None),
        ({"reminder": "out", "transactional": "in"}, "reminder", "opted_out"),
        ({"transactional": "out"}, "reminder", "opted_out"),
        ({"transactional": "in", "reminder": "in"}, "marketing", "not_opted_in"),
        ({"marketing": "in"}, "marketing", None),
        ({"marketing": "out"}, "marketing", "opted_out"),
        ({"transactional": "out", "reminder": "out", "marketing": "out"}, "otp", None),
    ],
)
def test_who_may_be_written_to(said, purpose, reason):
    refusal = judge(states(**said), purpose)
    assert (refusal and refusal.reason) == reason


def test_contract_basis_covers_orders_only_and_a_no_still_counts():
    assert judge({}, "transactional", contract_basis=True) is None
    for purpose in ("reminder", "marketing"):
        assert judge({}, purpose, contract_basis=True).reason == "not_opted_in"
    assert judge(states(transactional="out"), "transactional", contract_basis=True).reason == "opted_out"


moments = st.integers(0, 5).map(lambda minutes: DAY + timedelta(minutes=minutes))
sayings = st.builds(Said, st.sampled_from([IN, OUT]), moments, st.sampled_from(["checkout", "whatsapp_reply"]))


@given(st.lists(sayings, min_size=1, max_size=12), st.randoms())
def test_the_order_of_arrival_does_not_matter(history, random):
    def fold(events):
        present = None
        for said in events:
            present = said if supersedes(said, present) else present
        return present.weight

    shuffled = random.sample(history, len(history))
    assert fold(history) == fold(shuffled) == present_of(history).weight


@given(st.lists(sayings, min_size=1, max_size=12))
def test_at_the_same_instant_the_no_wins(history):
    newest = max(said.at for said in history)
    refused = any(said.at == newest and said.status == OUT for said in history)
    assert (present_of(history).status == OUT) == refused


def told(*lines):
    return [Said(status, DAY + timedelta(minutes=n), source) for n, (status, source) in enumerate(lines)]


@pytest.mark.parametrize(
    ("history", "marketing", "reminder"),
    [
        ([(IN, "checkout"), (OUT, "whatsapp_reply")], True, True),
        ([(IN, "checkout"), (OUT, "whatsapp_reply"), (OUT, "whatsapp_reply")], True, True),
        ([(OUT, "whatsapp_reply")], False, True),
        ([(IN, "checkout"), (OUT, "settings_page"), (OUT, "whatsapp_reply")], False, False),
        ([(IN, "checkout"), (OUT, "whatsapp_reply"), (OUT, "settings_page")], False, False),
        ([(IN, "checkout")], False, False),
        ([], False, False),
    ],
)
def test_a_start_brings_back_what_a_stop_took_and_no_more(history, marketing, reminder):
    assert restored_by_start("marketing", told(*history), "whatsapp_reply") is marketing
    assert restored_by_start("reminder", told(*history), "whatsapp_reply") is reminder


def test_a_refusal_in_words():
    detail = {"purpose": "marketing", "when": DAY.isoformat(), "source": "whatsapp_reply", "word": "Stop"}
    assert skip_sentence("opted_out", detail) == "opted out on 3 Nov 2026 by WhatsApp reply Stop"
    assert skip_sentence("opted_out", detail, "Europe/Bucharest").startswith("opted out on 4 Nov 2026")
    assert skip_sentence("not_opted_in", {"purpose": "marketing"}) == "has not agreed to promotions"


def test_every_source_and_purpose_has_a_sentence():
    from wa_dashboard.domain.consent import Source

    for source in Source:
        assert "3 Nov 2026" in skip_sentence("opted_out", {"when": DAY.isoformat(), "source": source})
    assert len({skip_sentence("not_opted_in", {"purpose": purpose}) for purpose in PURPOSES}) == 3
