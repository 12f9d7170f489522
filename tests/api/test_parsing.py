"""Bodies become values, or sentences that say what to do."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_dashboard import errors
from wa_dashboard.api.parsing import (
    ApiModel,
    Instant,
    Metadata,
    Money,
    PhoneField,
    Wrong,
    Zone,
    instant_in,
    parse,
    pointer,
    read_instant,
    read_json,
    read_wall_clock,
)
from wa_dashboard.api.writing import amount
from wa_dashboard.domain.text import T


class Person(ApiModel):
    phone: PhoneField
    zone: Zone | None = None


class Body(ApiModel):
    name: str
    person: Person
    others: list[Person] = []
    kind: Literal["one", "two"] = "one"
    at: Instant | None = None
    count: int = 0
    flag: bool = False
    metadata: Metadata = {}


GOOD = {"name": "x", "person": {"phone": "+40722123456"}}


def findings(body: object, at: str = "") -> dict[str, str]:
    with pytest.raises(errors.Invalid) as refusal:
        parse(Body, body, at=at)
    assert all(isinstance(finding.detail, T) for finding in refusal.value.findings)
    return {finding.pointer: finding.code for finding in refusal.value.findings}


def test_a_good_body_becomes_its_values() -> None:
    body = parse(Body, GOOD | {"at": "2027-04-04T20:00:00+03:00"})

    assert body.person.phone.e164 == "+40722123456"
    assert body.person.phone.market == "RO"
    assert body.at == datetime(2027, 4, 4, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "where", "code"),
    [
        ({"name": 1}, "/name", "wrong_type"),
        ({"name": None}, "/name", "wrong_type"),
        ({"person": []}, "/person", "wrong_type"),
        ({"person": {}}, "/person/phone", "missing_field"),
        ({"person": {"phone": 40722123456}}, "/person/phone", "wrong_type"),
        ({"person": {"phone": "+4072"}}, "/person/phone", "phone_too_short"),
        ({"others": [GOOD["person"], {"phone": ""}]}, "/others/1/phone", "phone_empty"),
        ({"others": {"0": {}}}, "/others", "wrong_type"),
        ({"kind": "three"}, "/kind", "not_one_of"),
        ({"at": 1}, "/at", "wrong_type"),
        ({"at": "2027-04-04"}, "/at", "not_a_time"),
        ({"at": "2027-02-30T00:00:00Z"}, "/at", "not_a_time"),
        ({"count": "1"}, "/count", "wrong_type"),
        ({"count": True}, "/count", "wrong_type"),
        ({"flag": "true"}, "/flag", "wrong_type"),
        ({"metadata": {"a": 1}}, "/metadata/a", "wrong_type"),
        ({"metadata": {"a": "x" * 501}}, "/metadata", "too_long"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "/metadata", "too_many"),
        ({"person": {"phone": "+40722123456", "zone": "../../etc/passwd"}}, "/person/zone", "unknown_zone"),
        ({"a/b~c": 1}, "/a~1b~0c", "unknown_field"),
    ],
)
def test_a_wrong_field_has_a_pointer_and_a_code(change: dict[str, object], where: str, code: str) -> None:
    assert findings(GOOD | change) == {where: code}


def test_a_misspelt_field_is_guessed_where_it_stands() -> None:
    with pytest.raises(errors.Invalid) as refusal:
        parse(Body, GOOD | {"others": [{"phone": "+40722123456", "zonee": "UTC"}]})

    (finding,) = refusal.value.findings
    assert (finding.pointer, finding.code, finding.extra) == (
        "/others/0/zonee",
        "unknown_field",
        {"did_you_mean": "zone"},
    )
    assert finding.detail == "There is no field zonee here. Did you mean zone?"


def test_pointers_start_where_the_body_stands() -> None:
    assert findings({}, at="/items/3") == {"/items/3/name": "missing_field", "/items/3/person": "missing_field"}
    assert findings([], at="/items/3") == {"/items/3": "wrong_type"}
    assert pointer(["a/b", 0, "~"]) == "/a~1b/0/~0"


@pytest.mark.parametrize(
    ("written", "zone", "utc"),
    [
        ("2027-04-04T20:00", "Europe/Bucharest", "2027-04-04T17:00:00+00:00"),
        ("2027-04-04T20:00:00+01:00", "Europe/Bucharest", "2027-04-04T19:00:00+00:00"),
        ("2027-03-28T03:30", "Europe/Bucharest", "2027-03-28T01:30:00+00:00"),  # does not exist: 04:30 summer time
        ("2027-10-31T03:30", "Europe/Bucharest", "2027-10-31T00:30:00+00:00"),  # exists twice: the first
    ],
)
def test_local_times_become_instants(written: str, zone: str, utc: str) -> None:
    assert instant_in(read_wall_clock(written), zone).isoformat() == utc


@pytest.mark.parametrize("written", ["", "now", "2027-4-4T20:00", "2027-04-04T24:01", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_time_is_refused(written: str) -> None:
    with pytest.raises(Wrong):
        read_instant(written)


def test_money_is_decimal_text() -> None:
    assert parse(Money, {"amount": "0.0319", "currency": "EUR"}).amount == 31_900
    for wrong in ("1,5", "-1", "1e3", "0.0000001", "", "NaN", "١"):
        with pytest.raises(errors.Invalid):
            parse(Money, {"amount": wrong, "currency": "EUR"})


@given(st.integers(min_value=0, max_value=10**17))
def test_money_comes_back_as_it_went(micros: int) -> None:
    assert parse(Money, {"amount": amount(micros), "currency": "EUR"}).amount == micros


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    with suppress(errors.BadRequest):
        read_json(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_no_value_breaks_the_parser(value: object) -> None:
    with suppress(errors.Invalid):
        parse(Body, value)
