"""No telephone number and no secret reaches a log line, whoever writes it; what helps to understand stays."""

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_dashboard import logs
from wa_dashboard.domain.ids import new_id

KEY = "wak_test_0a1b2c3d_Zk3yq-4Vx_9aPpQWErtyUIop0123456789abcdefghijklmno"


@pytest.mark.parametrize(
    "written",
    [
        "+40722123456",
        "40722123456",
        "0722123456",
        "0040722123456",
        "whatsapp:+40722123456",
        "whatsapp%3A%2B40722123456",
        "?To=whatsapp%3A%2B40722123456&x=1",
        "?to=%2B40722123456",
        "tel:0722123456",
        '{"wa_id": "40722123456"}',
        "{'phone': '+40722123456'}",
        "+40 722 123 456",
        "+40-722-123-456",
        "+40 (722) 123.456",
        "0722 123 456",
        "0722.123.456",
        "0722-123-456",
        "021 722 1234",
        "+1 212 555 0123",
        "sent to +40722123456.",
        "sent to 0722123456, and more",
        "(+40722123456)",
        "phone=0722123456;",
    ],
)
def test_no_number_gets_through(written: str) -> None:
    masked = logs.mask_text(written)

    digits = "".join(letter for letter in masked if letter.isdigit())
    assert "•••" in masked
    assert "7221" not in digits
    assert "5550" not in digits
    assert len(digits) <= 8


@pytest.mark.parametrize(
    ("written", "secret"),
    [
        (f"Authorization: Bearer {KEY}", KEY[14:]),
        (f"key {KEY} was wrong", KEY[14:]),
        ("Authorization: Basic QUMxMjM0NTY3ODkwOnRva2Vu", "QUMx"),
        ("access token EAAGm0PX4ZCpsBAKZC1x2y3z4", "m0PX4"),
        ("url?access_token=EAAGm0PX4ZCpsBA&x=1", "m0PX4"),
        ('{"auth_token": "9f8e7d6c5b4a39281706"}', "9f8e7d6c"),
        ("app_secret=abcdef0123456789", "abcdef01"),
        ("D360-API-KEY: a1B2c3D4e5F6g7H8", "a1B2c3D4"),
        ("X-WA-Webhook-Secret: hush-hush-hush", "hush"),
        ("password='correct horse'", "correct"),
        ("your code: 482913", "482913"),
        ("GET /welcome/q9Jw3x-Zb7LkT2vN8sRfY1uCd0eGhMpA", "q9Jw3x"),
        ("POST /api/wa/webhook/q9Jw3x-Zb7LkT2vN8sRfY1uCd0eGhMpA", "q9Jw3x"),
    ],
)
def test_no_secret_gets_through(written: str, secret: str) -> None:
    masked = logs.mask_text(written)

    assert secret not in masked
    assert "[redacted]" in masked


@pytest.mark.parametrize(
    "readable",
    [
        "msg_01kaeaa3h5y7z8abcdefghjkmn.1",
        "2026-11-23T16:20:40.123456Z",
        "2026-11-23 16:20:40,123 took 0.123456789 s",
        "1763900000 and 1763900000123 and 1763900000.1234567",
        "http://127.0.0.1:54321/healthz",
        "price 71200 micros, 1234.56 EUR",
        "550e8400-e29b-41d4-a716-446655440000",
        "took 1200 ms, 17 of 20, HTTP 503",
        "error 131026: undeliverable",
        "from 2026-11-23 to 2026-12-01",
        "/tmp/wa-0-9f86d081884c7d65/valkey.sock",
    ],
)
def test_what_helps_stays_readable(readable: str) -> None:
    assert logs.mask_text(readable) == readable


def test_ids_stay_readable() -> None:
    for _ in range(3000):
        made = f"{new_id('msg')}.1 {new_id('acc')}"
        assert logs.mask_text(made) == made


@given(st.integers(min_value=10**6, max_value=10**9 - 1), st.sampled_from(["+40", "whatsapp:+40", "%2B40", "+44"]))
def test_random_numbers_do_not_get_through(number: int, prefix: str) -> None:
    written = f"{prefix}7{number}"

    assert str(number)[:-3] not in logs.mask_text(f"({written})")


# --- through the real handlers ----------------------------------------------------------------------------------


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict]]]:
    """What was written to stderr since, as JSON."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("info")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = before
    root.setLevel(level)


def test_our_events_are_masked_and_keep_their_fields(lines) -> None:
    log = logs.get("test.ours")
    log.info(
        "message_refused",
        message_id="msg_01kaeaa3h5y7z8abcdefghjkmn",
        phone="+40722123456",
        to=["0722123456"],
        nested={"auth_token": "9f8e7d6c5b4a", "wa_id": "40722123456"},
        credentials={"api_key": "a1B2c3D4"},
        raw=b"To=whatsapp%3A%2B40722123456",
        error=ValueError("+40722123456 is not on WhatsApp"),
        amount=71200000000,
        port=54321,
    )

    (line,) = lines()
    assert "7221" not in json.dumps(line)
    assert "9f8e" not in json.dumps(line)
    assert "a1B2" not in json.dumps(line)
    assert line["event"] == "message_refused"
    assert line["level"] == "info"
    assert line["logger"] == "test.ours"
    assert line["message_id"] == "msg_01kaeaa3h5y7z8abcdefghjkmn"
    assert (line["amount"], line["port"]) == (71200000000, 54321)
    assert line["timestamp"].endswith("Z")


def test_libraries_lines_are_masked(lines) -> None:
    logging.getLogger("some.library").warning("calling %s with %s", "+40722123456", f"Bearer {KEY}")

    (line,) = lines()
    assert "7221" not in line["event"]
    assert KEY[14:] not in line["event"]
    assert line["event"].startswith("calling ")


@pytest.mark.parametrize("ours", [True, False])
def test_exceptions_are_masked_with_their_chain(lines, ours: bool) -> None:
    log = logs.get("test.ours") if ours else logging.getLogger("some.library")
    try:
        try:
            raise KeyError("whatsapp:+40722123456")
        except KeyError as inner:
            raise RuntimeError(f"token={KEY}") from inner
    except RuntimeError:
        log.exception("it_broke")

    (line,) = lines()
    assert "RuntimeError" in line["exception"]
    assert "KeyError" in line["exception"]
    assert "7221" not in json.dumps(line)
    assert KEY[14:] not in json.dumps(line)


def test_a_line_break_in_a_value_makes_no_second_line(lines) -> None:
    logs.get("test.ours").info("asked", name='Ana\n{"event": "forged"}')

    assert len(lines()) == 1
