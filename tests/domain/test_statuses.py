"""The lattice: receipts in any order and any number end in the same state (states.md §6.1)."""

from itertools import permutations, product

from hypothesis import given
from hypothesis import strategies as st

from wa_dashboard.domain.statuses import (
    LANE_OF,
    MOVES,
    POLICY_OF,
    PRIORITY,
    PURPOSE_OF,
    RANK_OF_RECEIPT,
    STATUS_OF_RANK,
    STATUS_WORDS,
    WAITING,
    MessageType,
    Rank,
    Status,
    best_of,
    sources_of,
)

RECEIPTS = tuple(RANK_OF_RECEIPT)


def merged(receipts: tuple[tuple[int, str], ...]) -> Rank:
    """What the receipts of a message's attempts (number, word) prove, one after the other."""
    ranks: dict[int, Rank] = {}
    for attempt, word in receipts:
        ranks[attempt] = max(ranks.get(attempt, Rank.INFLIGHT), RANK_OF_RECEIPT[word])
    return best_of(ranks.values())


def test_every_order_of_one_attempts_receipts_ends_alike() -> None:
    ends = {merged(tuple((1, word) for word in order)) for order in permutations(RECEIPTS)}

    assert ends == {Rank.READ}


def test_every_order_of_two_attempts_receipts_ends_alike() -> None:
    words = ("accepted", "sent", "failed", "delivered")
    for first, second in product(range(1, 2 ** len(words)), repeat=2):
        told = [(1, word) for bit, word in enumerate(words) if first >> bit & 1]
        told += [(2, word) for bit, word in enumerate(words) if second >> bit & 1]
        orders = permutations(told) if len(told) <= 5 else [tuple(told), tuple(reversed(told)), tuple(sorted(told))]
        assert len({merged(tuple(order)) for order in orders}) == 1, told


@given(st.lists(st.tuples(st.integers(1, 2), st.sampled_from(RECEIPTS)), min_size=1, max_size=12), st.randoms())
def test_repetition_and_order_change_nothing(told: list[tuple[int, str]], chance) -> None:
    again = told + chance.choices(told, k=3)
    chance.shuffle(again)

    assert merged(tuple(again)) == merged(tuple(told))


def test_a_failure_is_overtaken_by_a_delivery_of_the_same_or_another_attempt() -> None:
    assert best_of([Rank.FAILED, Rank.DELIVERED]) == Rank.DELIVERED
    assert merged(((1, "failed"), (1, "delivered"))) == Rank.DELIVERED
    assert merged(((1, "delivered"), (1, "failed"))) == Rank.DELIVERED


def test_a_failure_gives_way_to_an_attempt_that_is_alive() -> None:
    assert best_of([Rank.FAILED, Rank.INFLIGHT]) == Rank.INFLIGHT
    assert best_of([Rank.FAILED, Rank.SENT]) == Rank.SENT
    assert best_of([Rank.NOT_SENT, Rank.AMBIGUOUS]) == Rank.AMBIGUOUS
    assert best_of([Rank.FAILED, Rank.NOT_SENT]) == Rank.FAILED


def test_every_word_has_a_meaning() -> None:
    assert set(MOVES) == set(Status) == set(STATUS_WORDS)
    assert set(RANK_OF_RECEIPT.values()) == set(STATUS_OF_RANK)
    for table in (POLICY_OF, LANE_OF, PURPOSE_OF):
        assert set(table) == set(MessageType)
    assert set(LANE_OF.values()) == set(PRIORITY)
    assert PRIORITY[LANE_OF[MessageType.OTP]] < PRIORITY[LANE_OF[MessageType.ORDER_CONFIRM]]
    assert PRIORITY[LANE_OF[MessageType.ORDER_CONFIRM]] < PRIORITY[LANE_OF[MessageType.PROMO]]


def test_what_was_accepted_is_never_sent_again_by_a_decision() -> None:
    for proven in (Status.ACCEPTED, Status.SENT, Status.DELIVERED, Status.READ, Status.CANCELLED, Status.SKIPPED):
        assert MOVES[proven] == frozenset()
    assert all(MOVES[waiting] for waiting in WAITING)
    assert set(sources_of(Status.QUEUED)) == {
        Status.SENDING, Status.UNCERTAIN, Status.FAILED, Status.UNCONFIRMED, Status.DEAD_LETTER, Status.EXPIRED,
    }  # fmt: skip
