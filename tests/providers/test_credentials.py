"""What must be pasted to connect an account: names as in operations.md, word for word."""

import random

import pytest

from wa_dashboard.providers.base import BadCredentials, provider_named

META, TWILIO, DIALOG = provider_named("meta_cloud"), provider_named("twilio"), provider_named("dialog360")
SID = "AC" + "0" * 32


@pytest.mark.parametrize(
    ("kind", "required", "optional"),
    [
        (META, "phone_number_id waba_id access_token app_secret verify_token display_phone_number", "app_id"),
        (TWILIO, "account_sid auth_token", "from messaging_service_sid api_key api_secret"),
        (DIALOG, "api_key phone_number webhook_secret", "waba_id"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_names_are_those_of_the_manual(kind, required, optional):
    assert [c.name for c in kind.credentials if c.required] == required.split()
    assert [c.name for c in kind.credentials if not c.required] == optional.split()


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, ("from|messaging_service_sid",)),
        ({"from": "+40722000000", "api_key": "SK1"}, ("api_secret",)),
        ({"from": "+40722000000", "api_secret": "x"}, ("api_key",)),
        ({"from": "", "messaging_service_sid": None}, ("from|messaging_service_sid",)),
    ],
)
def test_twilio_wants_a_sender_and_whole_keys(given, missing):
    with pytest.raises(BadCredentials) as problem:
        TWILIO.validate_credentials({"account_sid": SID, "auth_token": "t", **given})

    assert problem.value.missing == missing


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (TWILIO, "account_sid", "AC/../x"),
        (TWILIO, "account_sid", "SK" + "0" * 32),
        (TWILIO, "from", "Concert"),
        (TWILIO, "auth_token", ["t"]),
        (META, "phone_number_id", "1/messages?x="),
        (META, "access_token", "a b"),
        (META, "display_phone_number", "12"),
        (DIALOG, "api_key", "ș"),
    ],
)
def test_what_cannot_be_used_is_named(kind, key, value):
    with pytest.raises(BadCredentials) as problem:
        kind.validate_credentials({**kind.random_test_credentials(random.Random(1)), key: value})

    assert problem.value.invalid == (key,)
    assert key in str(problem.value)
    assert str(value) not in str(problem.value), "a secret never gets into a sentence"


def test_numbers_are_kept_in_e164():
    twilio = TWILIO.validate_credentials({"account_sid": SID, "auth_token": "t", "from": "whatsapp:+40 722 000 000"})
    meta = META.validate_credentials(
        META.random_test_credentials(random.Random(1)) | {"display_phone_number": "15550783881", "waba_id": 102290}
    )

    assert TWILIO.sender_of(twilio) == twilio["from"] == "+40722000000"
    assert META.sender_of(meta) == "+15550783881"
    assert meta["waba_id"] == "102290"


def test_a_messaging_service_has_no_sender_of_its_own():
    service = {"account_sid": SID, "auth_token": "t", "messaging_service_sid": "MG" + "0" * 32}

    assert TWILIO.sender_of(TWILIO.validate_credentials(service)) is None
