"""Secrets at rest, keys, tokens, passwords (security.md §4.3, §4.7)."""

import base64
import os
import statistics
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from tests import factories
from wa_dashboard import security
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.models import Contact, ProviderAccount
from wa_dashboard.security import KeyRing, Undecryptable
from wa_dashboard.services import contacts


def new_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


OLD, NEW = new_key(), new_key()
PLACE = "wa_accounts|credentials|ten_1|acc_1"


# --- the key ring -----------------------------------------------------------------------------------------------


def test_the_first_key_writes_and_all_read() -> None:
    sealed = KeyRing([OLD]).seal(b"secret", PLACE)
    rotated = KeyRing([NEW, OLD])

    assert rotated.open(sealed, PLACE) == b"secret"
    fresh = rotated.seal(b"secret", PLACE)
    assert KeyRing([NEW]).open(fresh, PLACE) == b"secret"
    with pytest.raises(Undecryptable, match="WA_ENCRYPTION_KEYS"):
        KeyRing([OLD]).open(fresh, PLACE)


def test_the_same_text_never_looks_the_same() -> None:
    ring = KeyRing([OLD])

    assert len({ring.seal(b"secret", PLACE) for _ in range(100)}) == 100


@pytest.mark.parametrize("place", ["wa_accounts|credentials|ten_2|acc_1", "wa_accounts|credentials|ten_1|acc_2", ""])
def test_a_text_that_was_moved_does_not_open(place: str) -> None:
    sealed = KeyRing([OLD]).seal(b"secret", PLACE)

    with pytest.raises(Undecryptable, match="another row"):
        KeyRing([OLD]).open(sealed, place)


@given(st.integers(0, 37), st.integers(1, 255))
def test_a_changed_text_does_not_open(position: int, flip: int) -> None:
    ring = KeyRing([OLD])
    sealed = bytearray(ring.seal(b"secret", PLACE))
    sealed[position] ^= flip

    with pytest.raises(Undecryptable):
        ring.open(bytes(sealed), PLACE)


@pytest.mark.parametrize("length", [0, 3, 4, 5, 15, 16, 31])
def test_a_text_cut_short_does_not_open(length: int) -> None:
    ring = KeyRing([OLD])

    with pytest.raises(Undecryptable):
        ring.open(ring.seal(b"secret", PLACE)[:length], PLACE)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        KeyRing([base64.urlsafe_b64encode(os.urandom(16)).decode()])


# --- sealed columns ---------------------------------------------------------------------------------------------


def test_a_sealed_value_belongs_to_its_row_and_tenant(tenant, other_tenant) -> None:
    with tenant_scope(other_tenant.id):
        foreign = db.session.scalars(select(ProviderAccount.credentials_sealed)).one()
    with tenant_scope(tenant.id), transaction():
        row = db.session.scalars(select(ProviderAccount)).one()
        assert row.credentials["phone_number_id"]
        assert row.credentials["access_token"].encode() not in row.credentials_sealed
        row.credentials_sealed = foreign
        with pytest.raises(Undecryptable):
            _ = row.credentials


def test_a_number_moved_to_another_person_does_not_open(tenant) -> None:
    with tenant_scope(tenant.id), transaction():
        ana = contacts.contact_for(tenant.tenant, to_e164("+40722123456"))
        ion = contacts.contact_for(tenant.tenant, to_e164("+40722123457"))
        assert ana.phone == "+40722123456"
        assert b"722123" not in ana.phone_sealed
        ion.phone_sealed = ana.phone_sealed
        with pytest.raises(Undecryptable):
            _ = ion.phone
    with pytest.raises(ValueError, match="row's id and tenant"):
        Contact(tenant_id=tenant.id).phone = "+40722123456"


def test_a_number_is_found_by_a_fingerprint_of_its_tenant(tenant, other_tenant) -> None:
    one = contacts.index_of(tenant.tenant, "+40722123456")

    assert one == contacts.index_of(tenant.tenant, "+40722123456")
    assert one != contacts.index_of(other_tenant.tenant, "+40722123456")
    assert one != contacts.index_of(tenant.tenant, "+40722123457")
    assert "722" not in one or len(one) == 32


# --- API keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("live", [True, False])
def test_an_api_key_is_read_back(live: bool) -> None:
    key, public_id, secret_hash = security.new_api_key(live)

    assert key.startswith(f"wak_{'live' if live else 'test'}_{public_id}_")
    assert len(public_id) == 8
    assert security.read_api_key(key) == (public_id, secret_hash, live)
    assert secret_hash not in key
    assert key[18:61] not in secret_hash


def test_a_mistyped_key_is_told_from_its_checksum() -> None:
    key, _, _ = security.new_api_key(False)

    for position in range(len(key)):
        typo = key[:position] + ("x" if key[position] != "x" else "y") + key[position + 1 :]
        assert security.read_api_key(typo) is None
    assert security.read_api_key(key.replace("test", "live")) is None
    assert security.read_api_key(key[:-1]) is None
    assert security.read_api_key(f" {key}") is None


@given(st.text(alphabet=st.characters(), max_size=80))
def test_any_text_is_a_key_or_none(text: str) -> None:
    assert security.read_api_key(text) is None
    assert security.read_api_key(f"wak_test_{text}") is None


def test_keys_differ() -> None:
    assert len({security.new_api_key(True)[0] for _ in range(1000)}) == 1000
    assert len({security.new_token() for _ in range(1000)}) == 1000
    assert len(base64.urlsafe_b64decode(security.new_token() + "=")) == 32


@given(st.text(alphabet=st.characters()), st.text(alphabet=st.characters()))
def test_sameness_is_sameness(one: str, other: str) -> None:
    assert security.same(one, one)
    assert security.same(one, other) is (one == other)


# --- passwords --------------------------------------------------------------------------------------------------


def test_a_password_matches_only_itself() -> None:
    stored = security.hash_password("o propoziție scurtă")

    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert security.password_matches("o propoziție scurtă", stored)
    assert not security.password_matches("o propozitie scurta", stored)
    assert not security.password_matches("", stored)
    assert not security.password_matches("anything", "not a hash")
    assert not security.password_matches("anything", None)


def test_an_unknown_person_takes_as_long_as_a_wrong_password() -> None:
    stored = security.hash_password("o propoziție scurtă")

    def seconds(against: str | None) -> float:
        begun = time.perf_counter()
        assert not security.password_matches("wrong", against)
        return time.perf_counter() - begun

    seconds(None)
    pairs = [(seconds(None), seconds(stored)) for _ in range(9)]
    unknown, wrong = (statistics.median(column) for column in zip(*pairs, strict=True))
    assert 0.5 < unknown / wrong < 2


def test_the_dummy_is_not_somebodys_password(app) -> None:
    """Nobody signs in as nobody, whatever the dummy hash was made of."""
    from wa_dashboard.services import tenants

    factories.make_tenant()

    for password in ("", "somesaltsomesalt", "password"):
        assert tenants.sign_in("nobody@example.org", password) is None
        assert tenants.sign_in("ana@example.org", password) is None
